//! Times, sizes and counts, as text and parsed.

/// Returns nanoseconds in a unit that fits, with three digits.
pub fn duration(ns: u64) -> String {
    let (scale, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (1e3, "us"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let value = ns as f64 / scale;
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Returns bytes in the largest unit that fits: `4 KiB`, or `6.1 MiB` if not exact.
pub fn size(bytes: u64) -> String {
    let rounded = aligned_size(bytes);
    let is_exact = bytes.trailing_zeros() >= bytes.max(1).ilog2() / 10 * 10;
    if is_exact { rounded.replacen(".0 ", " ", 1) } else { rounded }
}

/// Returns bytes with one decimal always, for columns.
pub fn aligned_size(bytes: u64) -> String {
    let unit = bytes.max(1).ilog2() / 10;
    match ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].get(unit as usize) {
        Some(name) if unit > 0 => {
            format!("{:.1} {name}", bytes as f64 / 1024_f64.powi(unit.cast_signed()))
        }
        _ => format!("{bytes} B"),
    }
}

/// Returns `12.3 %`; `0 %` and `100 %` only if exact.
pub fn percent(part: u64, whole: u64) -> String {
    match part as f64 * 100.0 / whole.max(1) as f64 {
        0.0 => "0 %".to_owned(),
        ..0.1 => "<0.1 %".to_owned(),
        share if part < whole && share > 99.9 => "99.9 %".to_owned(),
        100.0 => "100 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

/// Escapes control characters, which could control a terminal, in text of a trace or of symbols.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            clean.extend(letter.escape_default());
        } else {
            clean.push(letter);
        }
    }
    clean
}

/// Returns `1 gap`, `2 gaps`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Returns `12,345,678`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Parses an address, `0x...` or decimal.
pub fn parse_address(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|error| format!("{error}; write it as 0x7f0000000000 or in decimal"))
}

/// Parses an address, or a range `FIRST..END`.
pub fn parse_addresses(text: &str) -> Result<(u64, u64), String> {
    let Some((first, end)) = text.split_once("..") else {
        let address = parse_address(text)?;
        return Ok((address, address.saturating_add(1)));
    };
    let (first, end) = (parse_address(first)?, parse_address(end)?);
    if first < end {
        Ok((first, end))
    } else {
        Err("the range is empty; write FIRST..END with END behind FIRST".to_owned())
    }
}

/// Parses a number of bytes with an optional unit.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let number = upper.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = upper.strip_prefix(number).unwrap_or_default();
    let shift = match unit {
        "" | "B" => Some(0),
        "K" | "KB" | "KIB" => Some(10),
        "M" | "MB" | "MIB" => Some(20),
        "G" | "GB" | "GIB" => Some(30),
        _ => None,
    };
    let number = number.trim().parse::<u64>().ok();
    let bytes = number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "write a number of bytes, such as 65536, 64K, 4KiB or 1G".to_owned())
}

/// Parses a time to nanoseconds: `1.5s`, `200ms`, `30us`, `80ns`; seconds without a unit.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let at = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let scale = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" | "min" => 60e9,
        _ => return Err("write a time as 1.5s, 200ms, 30us or 80ns".to_owned()),
    };
    match number.parse::<f64>() {
        Ok(number) if number >= 0.0 => Ok((number * scale) as u64),
        _ => Err("write a time as 1.5s, 200ms, 30us or 80ns".to_owned()),
    }
}

/// Parses a percentage, with or without its sign.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim().parse::<f64>();
    let number = number.ok().filter(|number| *number >= 0.0);
    number.ok_or_else(|| "write a percentage, such as 10".to_owned())
}

/// Returns the date, UTC, of nanoseconds since 1970, as `2026-11-24`.
pub fn date(ns: u64) -> String {
    let days = (ns / 86_400_000_000_000) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Returns date and time, UTC, as `2026-11-24 03:28:19`.
pub fn date_and_time(ns: u64) -> String {
    let seconds = ns / 1_000_000_000 % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{} {hours:02}:{minutes:02}:{:02}", date(ns), seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::{
        aligned_size, count, date_and_time, duration, parse_addresses, parse_size, parse_time,
        percent, printable, size,
    };

    #[test]
    fn parses_times_sizes_and_ranges() {
        assert_eq!(parse_time("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_time("30us"), Ok(30_000));
        assert!(parse_time("soon").is_err());
        assert_eq!(parse_size("2M"), Ok(2 << 20));
        assert_eq!(parse_size("4KiB"), parse_size("4 k"));
        assert!(parse_size("999999999999999G").is_err() && parse_size("4T").is_err());
        assert_eq!(parse_addresses("0x10..0x20"), Ok((16, 32)));
        assert!(parse_addresses("0x20..0x10").is_err());
    }

    #[test]
    fn writes_counts_sizes_times_and_dates() {
        assert_eq!(count(1_234_567), "1,234,567");
        let sizes = [0, 999, 4096, 6_295_552, 31_457_280, 3 << 40, u64::MAX];
        let read = ["0 B", "999 B", "4 KiB", "6.0 MiB", "30 MiB", "3 TiB", "16.0 EiB"];
        assert_eq!(sizes.map(size), read);
        assert_eq!(aligned_size(31_457_280), "30.0 MiB");
        let shares = [(0, 5), (1, 100_000), (1, 3), (99_999, 100_000), (5, 5), (0, 0)];
        let read = ["0 %", "<0.1 %", "33.3 %", "99.9 %", "100 %", "0 %"];
        assert_eq!(shares.map(|(part, whole)| percent(part, whole)), read);
        let times = [999, 1_234, 45_600, 3_132_700, 9_999_000, 123_456_000, 7_000_000_000];
        let read = ["999 ns", "1.23 us", "45.6 us", "3.13 ms", "10.0 ms", "123 ms", "7.00 s"];
        assert_eq!(times.map(duration), read);
        assert_eq!(printable("a\u{1b}[31m\nb é"), "a\\u{1b}[31m\\nb é");
        assert_eq!(date_and_time(1_700_000_000_000_000_000), "2023-11-14 22:13:20");
        assert_eq!(date_and_time(951_782_400_000_000_000), "2000-02-29 00:00:00");
    }
}
