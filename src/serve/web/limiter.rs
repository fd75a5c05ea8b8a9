//! Limits how often an address may do something.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// The most addresses that are remembered.
const ADDRESSES: usize = 10_000;

/// A token bucket for each address.
pub struct Limiter {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Limiter {
    pub fn new(burst: f64, per_second: f64) -> Self {
        Self { burst, per_second, buckets: Mutex::default() }
    }

    /// Takes one, and returns whether there was one.
    pub fn take(&self, address: IpAddr) -> bool {
        self.with(address, |left| {
            let is_allowed = *left >= 1.0;
            *left = (*left - 1.0).max(0.0);
            is_allowed
        })
    }

    fn with<T>(&self, address: IpAddr, change: impl FnOnce(&mut f64) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&address) {
            // A full bucket says nothing.
            let (burst, per_second) = (self.burst, self.per_second);
            buckets.retain(|_, (left, at)| refilled(*left, now - *at, per_second) < burst);
            if buckets.len() >= ADDRESSES {
                buckets.clear();
            }
        }
        let (left, at) = buckets.entry(address).or_insert((self.burst, now));
        *left = refilled(*left, now - *at, self.per_second).min(self.burst);
        *at = now;
        change(left)
    }
}

fn refilled(left: f64, passed: std::time::Duration, per_second: f64) -> f64 {
    left + passed.as_secs_f64() * per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_nothing() {
        let limiter = Limiter::new(3.0, 0.001);
        let (a, b) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let taken: Vec<bool> = (0..5).map(|_| limiter.take(a)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(limiter.take(b), "another address has its own");
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let limiter = Limiter::new(2.0, 0.0);
        for n in 0..u32::try_from(ADDRESSES + 10).unwrap() {
            limiter.take(IpAddr::from(n.to_be_bytes()));
        }
        assert!(limiter.buckets.lock().unwrap().len() <= ADDRESSES);
    }
}
