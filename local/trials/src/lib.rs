//! Tries the whole system: measures it, and breaks everything around it.

pub mod bench;
pub mod chaos;
