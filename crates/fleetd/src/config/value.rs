//! Reading single values, strictly: what does not parse is an error and never silently zero.

use std::collections::BTreeMap;
use std::time::Duration;

/// The words that the original took for booleans (Go's `strconv.ParseBool`).
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("write `true` or `false`".to_owned()),
    }
}

/// A whole number in a range.
pub fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    let wanted = || format!("write a whole number from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(wanted)
}

/// A share, as a number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to 1, such as `0.5` for half".to_owned())
}

/// A duration within bounds.
pub fn duration_in(text: &str, range: std::ops::RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = duration(text)?;
    if !range.contains(&duration) {
        return Err(format!("from {} s to {} s", range.start().as_secs(), range.end().as_secs()));
    }
    Ok(duration)
}

/// A duration as Go writes it: `30s`, `1m30s`, `1.5h`, `500ms`. The unit is required.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a duration with its unit, such as `30s`, `1m30s` or `500ms`".to_owned();
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (mut rest, mut sum) = (text, 0.0);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|ch: char| !ch.is_ascii_digit() && ch != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = &rest[digits..];
        let unit_len = after.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(after.len());
        let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == &after[..unit_len]).ok_or_else(wrong)?;
        sum += number * unit;
        rest = &after[unit_len..];
    }
    Duration::try_from_secs_f64(sum).map_err(|_| wrong())
}

/// `k=v` pairs with commas between. The last of equal keys wins, blanks around keys and values go.
///
/// Unlike the original, a piece without `=` is an error: it was dropped without a word.
pub fn metadata(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    for piece in text.split(',').map(str::trim).filter(|piece| !piece.is_empty()) {
        let Some((key, value)) = piece.split_once('=') else {
            return Err(format!("`{piece}` has no `=`: write `key=value,key=value`"));
        };
        pairs.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("30s", 30_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("500ms", 500), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "s", "30x", "30 s", "-3s", "1..5s", "s30"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn metadata_as_in_the_reference() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let pairs = metadata(text).expect("metadata that parses");
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(pairs, expected, "{text:?}");
        };
        check("", &[]);
        check("foo=bar,foo=baz", &[("foo", "baz")]);
        check("foo=", &[("foo", "")]);
        check("=bar", &[("", "bar")]);
        check(" a = b ,\tc\t=\td", &[("a", "b"), ("c", "d")]);
        check("a=b=c", &[("a", "b=c")]);
        check("a=b,,c=d", &[("a", "b"), ("c", "d")]);
        check("a=\"b\"", &[("a", "\"b\"")]);
        // The original dropped it silently.
        assert!(metadata("foo").is_err());
    }

    #[test]
    fn numbers_and_booleans() {
        assert_eq!(number("100", 1..=65_535), Ok(100));
        for text in ["", "0", "65536", "-1", "abc", "1.0"] {
            assert!(number(text, 1..=65_535).is_err(), "{text}");
        }
        for text in ["", "x", "-0.1", "1.1", "NaN", "50%"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!((share("0"), share("0.75"), share("1")), (Ok(0.0), Ok(0.75), Ok(1.0)));
        assert_eq!((boolean("true"), boolean("F")), (Ok(true), Ok(false)));
        assert!(boolean("maybe").is_err() && boolean("").is_err());
    }
}
