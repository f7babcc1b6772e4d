//! What has to hold for every unit file and pattern, tried on random ones. `SEED=42` repeats one case.

use fleet_core::unit::{Glob, Requirements, Strictness, UnitFile, UnitName, UnitOption, check, on_disk, split_value};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Seeds to try: `n` of them, or the one in the environment.
fn seeds(n: u64) -> Vec<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test is told here which case to repeat")]
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..n).collect(),
    }
}

fn pick<'a>(rng: &mut StdRng, from: &[&'a str]) -> &'a str {
    from[rng.random_range(0..from.len())]
}

/// Pieces that mean something to the scanner, so that random texts of them reach every corner of it.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[Service]\n",
    "[Unit]\n",
    "[X-Fleet]\n",
    "A=b\n",
    "A",
    "=",
    "\n",
    "\r\n",
    "\r",
    "\\",
    "\\\n",
    "\\\\\n",
    "\\ \n",
    " ",
    "\t",
    "\u{a0}",
    "\u{85}",
    "#",
    ";",
    "# c\n",
    "# c \\\n",
    "x",
    "é",
    "\u{feff}",
    "\"",
    "%i",
    "%n",
    "*",
    "MachineOf=",
    "MachineMetadata=",
    "Conflicts=",
    "Replaces=",
    "Global=",
    "MachineID=",
    "Slice=",
    "ExecStart=",
    "Where=",
];

fn random_text(rng: &mut StdRng) -> String {
    let mut text = if rng.random_bool(0.5) { String::from("[Service]\n") } else { String::new() };
    for _ in 0..rng.random_range(0..40) {
        text.push_str(pick(rng, PIECES));
    }
    text
}

const NAMES: &[&str] =
    &["a.service", "a@.service", "a@b.service", "a.socket", "a-b.mount", "x.slice", "x.scope", "n.target"];

fn random_name(rng: &mut StdRng) -> UnitName {
    pick(rng, NAMES).parse().expect("a good name")
}

#[test]
fn canonical_form_is_a_fixpoint() {
    let mut n_read = 0;
    for seed in seeds(20_000) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let text = random_text(rng);
        let Ok(file) = UnitFile::parse(&text) else { continue };
        n_read += u32::from(!file.options().is_empty());
        let canonical = file.canonical();
        let again = UnitFile::parse(&canonical).unwrap_or_else(|error| panic!("seed {seed}: {text:?}: {error}"));
        assert_eq!(again.canonical(), canonical, "seed {seed}: {text:?}");
        assert_eq!(again.hash(), file.hash(), "seed {seed}");
        // Writing only groups the options by section.
        let mut sorted: [Vec<&UnitOption>; 2] = [file.options().iter().collect(), again.options().iter().collect()];
        sorted.iter_mut().for_each(|options| options.sort_by_key(|option| &option.section));
        assert_eq!(sorted[0], sorted[1], "seed {seed}: {text:?}");
        // The API's way leads to the same file.
        let sent = UnitFile::from_options(file.options().to_vec());
        let sent = sent.unwrap_or_else(|error| panic!("seed {seed}: {text:?}: {error}"));
        assert_eq!(sent.canonical(), canonical, "seed {seed}: {text:?}");
    }
    assert!(seeds(2).len() == 1 || 1_000 < n_read, "only {n_read} files could be read");
}

/// How systemd 252 reads a file, as far as options are concerned: `config_parse()` and `parse_line()` described in
/// systemd.syntax(7), written down here apart from the code under test.
fn systemd_reads(text: &str) -> Vec<(String, String, String)> {
    let blanks: &[char] = &[' ', '\t', '\n', '\r'];
    let mut options = Vec::new();
    let mut section = String::new();
    let mut logical: Option<String> = None;
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    let n_lines = lines.len();
    for (idx, line) in lines.into_iter().enumerate() {
        let is_last = idx + 1 == n_lines;
        let comment = line.trim_start_matches(blanks).starts_with(['#', ';']);
        if comment && !(is_last && logical.is_some()) {
            continue;
        }
        let mut whole = logical.take().unwrap_or_default();
        if !comment {
            whole.push_str(line);
        }
        let mut escaped = false;
        for ch in whole.chars() {
            escaped = !escaped && ch == '\\';
        }
        if escaped {
            whole.pop();
            whole.push(' ');
            if !is_last {
                logical = Some(whole);
                continue;
            }
        }
        let whole = whole.trim_matches(blanks);
        if let Some(name) = whole.strip_prefix('[') {
            section = name.strip_suffix(']').unwrap_or(name).to_owned();
        } else if let Some((name, value)) = whole.split_once('=') {
            options.push((
                section.clone(),
                name.trim_matches(blanks).to_owned(),
                value.trim_matches(blanks).to_owned(),
            ));
        }
    }
    options
}

/// One of our values as systemd understands it: comments inside are gone, continued lines are joined.
fn joined(value: &str) -> String {
    systemd_reads(&format!("[S]\nA={value}\n")).pop().map_or(String::new(), |(_, _, value)| value)
}

#[test]
fn systemd_reads_what_we_read() {
    for seed in seeds(20_000) {
        let rng = &mut StdRng::seed_from_u64(seed);
        // A lone carriage return ends a line for systemd; that difference is known, and warned of.
        let text = random_text(rng).replace("\r\n", "\n").replace('\r', "");
        let text = text.replace(['\u{a0}', '\u{85}', '\u{feff}'], "x");
        let Ok(file) = UnitFile::parse(&text) else { continue };
        let name = random_name(rng);
        let slice = rng.random_bool(0.5).then_some("s.slice");
        let written = on_disk(&name, &file.canonical(), slice);
        let mut ours = file.options().to_vec();
        let mut first_of: Vec<String> = Vec::new();
        for option in &ours {
            if !first_of.contains(&option.section) {
                first_of.push(option.section.clone());
            }
        }
        ours.sort_by_key(|option| first_of.iter().position(|section| *section == option.section));
        let ours: Vec<_> = ours.iter().map(|o| (o.section.clone(), o.name.clone(), joined(&o.value))).collect();
        let mut theirs = systemd_reads(&written);
        if theirs.last().is_some_and(|(_, name, value)| name == "Slice" && value == "s.slice") {
            theirs.pop();
        }
        assert_eq!(theirs, ours, "seed {seed}: {text:?}\n{written}");
    }
}

#[test]
fn nothing_panics() {
    const VALID: &str = "[Unit]\nDescription=d\n[Service]\nExecStart=/bin/a \\\n  b\n[X-Fleet]\nMachineOf=b@%i.service\n\
        Conflicts=a@*.service c?.service\nMachineMetadata=\"a=1\" \"b=2\"\nX-ConditionMachineID=abc\nGlobal=no\n";
    for seed in seeds(20_000) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut bytes = if rng.random_bool(0.5) { random_text(rng).into_bytes() } else { VALID.as_bytes().to_vec() };
        for _ in 0..rng.random_range(0..8) {
            let at = rng.random_range(0..=bytes.len());
            match rng.random_range(0..3) {
                0 => bytes.insert(at, rng.random()),
                1 if at < bytes.len() => bytes[at] = rng.random(),
                _ => bytes.truncate(at),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let name = random_name(rng);
        let lenient = check(&name, &text, Strictness::Lenient);
        let strict = check(&name, &text, Strictness::Strict);
        match (&lenient, &strict) {
            (Ok(lenient), Ok(strict)) => assert_eq!(lenient.requirements, strict.requirements, "seed {seed}"),
            (Err(_), Ok(_)) => panic!("seed {seed}: lenient is stricter than strict: {text:?}"),
            (_, Err(problems)) => assert!(!problems.is_empty(), "seed {seed}: refused without a reason: {text:?}"),
        }
        if let Ok(unit) = &strict {
            assert_eq!(unit.requirements.never, [""; 0], "seed {seed}: {text:?}");
        }
        // Stored and read again it means the same.
        if let Ok(unit) = &lenient {
            let stored = UnitFile::parse(&unit.file.canonical()).expect("the canonical form can be read");
            assert_eq!(Requirements::of(&name, &stored), unit.requirements, "seed {seed}: {text:?}");
        }
        assert!(!split_value(&text).is_empty(), "seed {seed}");
    }
}

/// The grammar of `path.Match` once more, by recursion and without any care for speed. `None`: malformed.
fn model(pattern: &[char], name: &[char]) -> Option<bool> {
    let Some((&first, rest)) = pattern.split_first() else { return Some(name.is_empty()) };
    match first {
        '*' => {
            let mut found = false;
            for n_taken in 0..=name.len() {
                if name[..n_taken].contains(&'/') {
                    break;
                }
                found |= model(rest, &name[n_taken..])?;
            }
            Some(found)
        }
        '[' => {
            let (negated, mut rest) = match rest.split_first() {
                Some(('^', rest)) => (true, rest),
                _ => (false, rest),
            };
            let ch = name.first();
            let (mut found, mut n_ranges) = (false, 0);
            loop {
                if 0 < n_ranges && rest.first() == Some(&']') {
                    rest = &rest[1..];
                    break;
                }
                let lo = model_range_end(&mut rest)?;
                let mut hi = lo;
                if *rest.first()? == '-' {
                    rest = &rest[1..];
                    hi = model_range_end(&mut rest)?;
                }
                found |= ch.is_some_and(|&ch| lo <= ch && ch <= hi);
                n_ranges += 1;
            }
            let tail = model(rest, name.get(1..).unwrap_or(&[]))?;
            Some(ch.is_some() && found != negated && tail)
        }
        '?' => {
            let tail = model(rest, name.get(1..).unwrap_or(&[]))?;
            Some(name.first().is_some_and(|&ch| ch != '/') && tail)
        }
        _ => {
            let (literal, rest) = if first == '\\' { rest.split_first()? } else { (&first, rest) };
            let tail = model(rest, name.get(1..).unwrap_or(&[]))?;
            Some(name.first() == Some(literal) && tail)
        }
    }
}

fn model_range_end(rest: &mut &[char]) -> Option<char> {
    let mut ch = *rest.first()?;
    if ch == '-' || ch == ']' {
        return None;
    }
    if ch == '\\' {
        *rest = &rest[1..];
        ch = *rest.first()?;
    }
    *rest = &rest[1..];
    // A class cannot end with the pattern.
    rest.first()?;
    Some(ch)
}

#[test]
fn globs_match_as_the_model_does() {
    const TERMS: &[&str] = &["*", "?", "[", "]", "^", "-", "\\", "a", "b", "c", "é", "/", "[a-c]", "[^b]", "@", "."];
    const CHARS: &[&str] = &["a", "b", "c", "é", "/", "@", ".", "]", "-", "*"];
    let (mut n_matches, mut n_malformed) = (0, 0);
    for seed in seeds(100_000) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let pattern: String = (0..rng.random_range(0..8)).map(|_| pick(rng, TERMS)).collect();
        let name: String = (0..rng.random_range(0..6)).map(|_| pick(rng, CHARS)).collect();
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        let want = model(&chars(&pattern), &chars(&name));
        let glob = Glob::new(&pattern).ok();
        let have = glob.as_ref().map(|glob| glob.matches(&name));
        assert_eq!(have, want, "seed {seed}: {pattern} on {name}");
        n_malformed += u32::from(want.is_none());
        if let (Some(glob), Some(true)) = (glob, want) {
            n_matches += 1;
            assert!(name.starts_with(&glob.literal_prefix()), "seed {seed}: {pattern} on {name}");
            assert!(glob.literal().is_none_or(|literal| literal == name), "seed {seed}: {pattern} on {name}");
        }
    }
    assert!(seeds(2).len() == 1 || (1_000 < n_matches && 1_000 < n_malformed), "{n_matches} {n_malformed}");
}
