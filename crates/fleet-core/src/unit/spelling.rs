//! The nearest right spelling of a wrong word.

/// The candidate that a person most likely meant by `given`, if one is near enough to say so.
///
/// Letter case, blanks, dashes and the original's prefixes `X-Condition` and `X-` are not counted, since mixing them up
/// is the commonest slip. Otherwise about a third of the letters may be wrong.
pub(super) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if GIVEN_LEN_MAX < given.len() {
        return None;
    }
    let given = bare(given);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let wanted = bare(candidate);
            let is_tail = TAIL_LEN_MIN <= given.len() && wanted.ends_with(&given);
            let distance = if is_tail { 1 } else { distance(&given, &wanted) };
            (distance <= given.len().max(wanted.len()) / 3).then_some((distance, candidate))
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Longer words are no slip of the pen, and the distance costs the product of both lengths.
const GIVEN_LEN_MAX: usize = 64;

/// `Metadata` says enough to mean `MachineMetadata`; `ID` would fit too many.
const TAIL_LEN_MIN: usize = 5;

fn bare(word: &str) -> String {
    let lower = word.trim().to_ascii_lowercase();
    let lower = lower.strip_prefix("x-condition").or_else(|| lower.strip_prefix("x-")).unwrap_or(&lower);
    lower.chars().filter(|ch| ch.is_alphanumeric()).collect()
}

/// Levenshtein's distance: how many characters to insert, remove or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, from_ch) in from.chars().enumerate() {
        let mut left = row + 1;
        let mut diagonal = std::mem::replace(&mut above[0], left);
        for (col, &to_ch) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from_ch != to_ch);
            diagonal = above[col + 1];
            left = replaced.min(left + 1).min(diagonal + 1);
            above[col + 1] = left;
        }
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, want) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)]
        {
            assert_eq!(distance(from, to), want, "{from} -> {to}");
        }
    }
}
