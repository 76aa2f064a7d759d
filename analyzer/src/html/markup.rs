//! Pieces of markup that every section is made of.

use std::fmt::Write;

/// A part of the page that a link can reach.
pub fn section(id: &str, heading: &str, body: &str) -> String {
    format!("<section id=\"{id}\"><h2>{heading}</h2>{body}</section>")
}

/// A table that scrolls by itself where the page is narrow. A `>` before a column's name stands for
/// numbers, which carry what they are sorted by.
pub fn table(id: &str, columns: &[&str], rows: &str) -> String {
    let heads = columns.iter().fold(String::new(), |mut heads, name| {
        let (class, name) = match name.strip_prefix('>') {
            Some(name) => (" class=\"n\"", name),
            None => ("", *name),
        };
        let _ =
            write!(heads, "<th scope=\"col\"{class}><button type=\"button\">{name}</button></th>");
        heads
    });
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table id=\"{id}\" class=\"sortable\"><thead><tr>{heads}</tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

/// A cell with a number, and what it is sorted by.
pub fn number(text: &str, value: u64) -> String {
    format!("<td class=\"n\" data-v=\"{value}\">{text}</td>")
}
