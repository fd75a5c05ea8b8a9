//! Random numbers that other users cannot guess.

/// 128 bits from the operating system.
pub fn bits() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    u128::from_ne_bytes(bytes)
}
