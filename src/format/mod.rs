//! Bytes ↔ model: recognise a file, read and write GGUF.
