//! Checks as text or JSON.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::check::{Check, Group, State};
use crate::cli::DoctorOptions;
use crate::report::table::TextStyle;

/// Columns before the text of a check.
const INDENT: usize = 11;

/// Writes the checks.
pub fn write(checks: &[Check], options: &DoctorOptions, out: &mut dyn Write) -> Result<()> {
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &as_json(checks))?;
        writeln!(out)?;
        return Ok(());
    }
    let style = TextStyle::of_stdout();
    for group in Group::ALL {
        let mut of_group = checks.iter().filter(|check| check.group == group).peekable();
        if of_group.peek().is_none() {
            continue;
        }
        writeln!(out, "{}", style.heading(group.title()))?;
        for check in of_group {
            write_check(check, &style, out)?;
        }
        writeln!(out)?;
    }
    let problems = checks.iter().filter(|check| check.is_problem()).count();
    let verdict = match problems {
        0 if checks.iter().any(|check| check.group == Group::Program) => {
            "No problems; next: mremap-analyzer run PROGRAM".to_owned()
        }
        0 => "No problems; next: mremap-analyzer doctor PROGRAM checks a program, too".to_owned(),
        1 => style.bad("1 problem; its fix is above"),
        _ => style.bad(&format!("{problems} problems; their fixes are above")),
    };
    writeln!(out, "{verdict}")?;
    Ok(())
}

fn write_check(check: &Check, style: &TextStyle, out: &mut dyn Write) -> Result<()> {
    let name = check.state.name();
    let label = match check.state {
        State::Fine => style.good(name),
        State::Note => style.warning(name),
        State::Problem => style.bad(name),
    };
    let words = style.wrap(&check.what, INDENT);
    let rest = words.get(INDENT..).unwrap_or(&words);
    let blanks = " ".repeat(INDENT - 2 - name.len());
    writeln!(out, "  {label}{blanks}{rest}")?;
    if let Some(fix) = &check.fix {
        writeln!(out, "{}", style.item("->", fix, INDENT))?;
    }
    Ok(())
}

fn as_json(checks: &[Check]) -> Value {
    let problems = checks.iter().filter(|check| check.is_problem()).count();
    let list: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "group": check.group.name(),
                "check": check.name,
                "state": check.state.name(),
                "what": check.what,
                "fix": check.fix,
            })
        })
        .collect();
    json!({
        "verdict": if problems == 0 { "ok" } else { "problems" },
        "problems": problems,
        "checks": list,
    })
}
