//! What init makes of small repositories.
