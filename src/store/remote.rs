//! A registry as the store.
