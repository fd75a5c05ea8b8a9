//! Tests from outside: what a user of the library or of the program sees.

mod engine;
