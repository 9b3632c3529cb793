//! Speed, memory and energy of files, measured in turns.

pub(crate) mod doubts;
pub(crate) mod energy;
pub(crate) mod quiet;
pub(crate) mod round;
pub(crate) mod run;
pub(crate) mod stat;
pub(crate) mod sustained;
pub(crate) mod warnings;
