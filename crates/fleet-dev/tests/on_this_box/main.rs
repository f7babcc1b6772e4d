//! Real machines and clusters on the box where the tests run. One program, so that its parts share what they look with.

mod box_state;
mod clusters;
mod machines;
