//! `cargo lab`: see `tests/lab/README.md`.

fn main() -> std::process::ExitCode {
    ksp_lab::commands::main()
}
