//! A lookup table that is held as a whole: when it is read, how, and how its rows are found.

pub(crate) mod cache;
mod load;
mod lookup;
mod table;

pub(crate) use lookup::FullLookup;

#[cfg(test)]
mod tests;
