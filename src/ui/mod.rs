//! Drawing: theme, one file per page. No I/O, no threads, no channels: facts and choices in, wishes out.
