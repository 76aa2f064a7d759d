//! The options of `run` that become settings of the shim, made from the table in `mremap-settings`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::builder::{OsStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use mremap_settings::{ALL, Id, PREFIX, Setting, Values};

use crate::model::units::parse_size;

/// The settings that a command line gives.
#[derive(Debug, Default)]
pub struct Settings {
    values: Vec<(&'static Setting, OsString)>,
}

impl Settings {
    /// The value of a setting; `None` for a text that was not given.
    pub fn get(&self, id: Id) -> Option<&OsStr> {
        let mut values = self.values.iter();
        values.find(|(setting, _)| setting.id == id).map(|(_, value)| value.as_os_str())
    }
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        ALL.into_iter().fold(command, |command, setting| command.arg(option(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values =
            ALL.into_iter().filter_map(|setting| Some((setting, value(setting, matches)?)));
        Ok(Self { values: values.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `MREMAP_SHIM_TRACE_SIZE` becomes `--trace-size`.
fn long_name(setting: &Setting) -> String {
    match setting.id {
        Id::TraceDetail => "detail".to_owned(),
        Id::Children => "no-children".to_owned(),
        _ => {
            let name = setting.name.strip_prefix(PREFIX).unwrap_or(setting.name);
            name.to_ascii_lowercase().replace('_', "-")
        }
    }
}

fn option(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.name).long(long_name(setting)).help_heading("What is recorded");
    let help = setting.help;
    match (setting.id, &setting.values) {
        (Id::Children, _) => {
            arg.action(ArgAction::SetTrue).help("Record only the program itself, not its children")
        }
        (Id::Trace, _) => {
            arg.value_name("DIRECTORY").value_parser(OsStringValueParser::new()).help(
                "Directory for the traces, one file for each process image [default: a temporary \
             directory, named at the end]",
            )
        }
        (_, Values::Words(words)) => {
            let words = words.iter().map(|it| PossibleValue::new(it.word).help(it.meaning));
            let arg = arg.value_parser(PossibleValuesParser::new(words).map(OsString::from));
            arg.value_name("WORD").default_value(setting.default).help(help)
        }
        (_, Values::Number { form, .. }) => arg
            .value_name("NUMBER")
            .default_value(setting.default)
            .value_parser(move |text: &str| parse_number(setting, form, text))
            .help(format!("{help}: {form}")),
        (_, Values::Text { form, unset }) => arg
            .value_name("TEXT")
            .value_parser(OsStringValueParser::new())
            .help(format!("{help}: {form} [default: {unset}]")),
    }
}

/// Checks a number. It may have the units of the reports (4KiB), which the shim does not read.
fn parse_number(setting: &Setting, form: &str, text: &str) -> Result<OsString, String> {
    let number = parse_size(text).map(|number| number.to_string()).unwrap_or_default();
    match setting.parse(number.as_bytes()) {
        Some(_) => Ok(number.into()),
        None => Err(format!("must be {form}")),
    }
}

fn value(setting: &Setting, matches: &ArgMatches) -> Option<OsString> {
    if setting.id == Id::Children {
        let only_first = matches.get_flag(setting.name);
        return Some(OsStr::from_bytes(if only_first { b"0" } else { b"1" }).to_owned());
    }
    matches.get_one::<OsString>(setting.name).cloned()
}
