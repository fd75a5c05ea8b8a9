//! The engine's own tags as the store.
