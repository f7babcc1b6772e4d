//! Which machine may run what, and why not.
