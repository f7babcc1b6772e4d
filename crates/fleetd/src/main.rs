//! The daemon of fleet. See the library of the same name.

fn main() -> std::process::ExitCode {
    fleetd::main()
}
