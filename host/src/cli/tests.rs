use clap::CommandFactory as _;

use super::*;

#[test]
fn the_arguments_make_sense() {
    Cli::command().debug_assert();
}

#[test]
fn the_reference_is_what_help_says() {
    let mut text = String::new();
    describe(&mut Cli::command(), &mut text);
    insta::assert_snapshot!(text);
}

fn describe(command: &mut clap::Command, text: &mut String) {
    command.build();
    text.push_str(&format!(
        "# {}\n\n{}\n",
        command.get_bin_name().unwrap_or("ksp").to_owned(),
        command.clone().term_width(100).render_long_help()
    ));
    let names: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    for name in names {
        if let Some(command) = command.find_subcommand_mut(&name) {
            describe(command, text);
        }
    }
}

fn parse(words: &str) -> Result<Cli, ErrorKind> {
    Cli::try_parse_from(std::iter::once("ksp").chain(words.split_whitespace())).map_err(|error| error.kind())
}

#[test]
fn global_options_work_on_both_sides_of_the_command() {
    assert_eq!(parse("-vv up").unwrap().global.verbose, 2);
    assert_eq!(parse("up prod.toml --yes --progress plain --accept-new -q").unwrap().global.quiet, 1);
    assert_eq!(parse("up -v -q").unwrap_err(), ErrorKind::ArgumentConflict);
}

#[test]
fn what_would_be_dangerous_is_refused() {
    assert_eq!(parse("reset --yes").unwrap_err(), ErrorKind::MissingRequiredArgument);
    assert_eq!(parse("unlock manifest.toml").unwrap_err(), ErrorKind::MissingRequiredArgument);
    assert_eq!(parse("pla").unwrap_err(), ErrorKind::InvalidSubcommand);
    assert!(parse("reset --node w1,w2 --yes").is_ok());
}
