//! The `ksp` program.

fn main() -> std::process::ExitCode {
    ksp::cli::main()
}
