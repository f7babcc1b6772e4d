//! Unit files: the first line of the input is the unit's name, the rest its file.

use fleet_core::unit::{
    CheckedUnit, Glob, Requirements, Strictness, UnitFile, UnitName, UnitOption, check, expand_specifiers, mangle,
    on_disk, slice_for, split_value,
};

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (name, text) = text.split_once('\n').unwrap_or((&text, ""));
    mangled(name);
    let name: UnitName = name.parse().unwrap_or_else(|_| "a@b.service".parse().expect("a good name"));
    assert_eq!(name.as_str().parse().as_ref(), Ok(&name), "a name reads back as itself");
    if let Ok(file) = UnitFile::parse(text) {
        canonical(&file);
        values(&name, &file);
    }
    checked(&name, text);
}

/// What the command line makes of a word is a name, or is refused, and making it a name again changes nothing.
fn mangled(word: &str) {
    let name = mangle(word);
    assert_eq!(mangle(&name), name, "from {word:?}");
}

/// The canonical form is a fixed point, and so is the way over options that API v1 takes.
fn canonical(file: &UnitFile) {
    let canonical = file.canonical();
    let again = UnitFile::parse(&canonical).unwrap_or_else(|err| panic!("{canonical:?} cannot be read: {err}"));
    assert_eq!(again.canonical(), canonical);
    assert_eq!(again.hash(), file.hash());
    let sorted = |file: &UnitFile| {
        let mut options: Vec<UnitOption> = file.options().to_vec();
        options.sort_by(|a, b| a.section.cmp(&b.section));
        options
    };
    assert_eq!(sorted(file), sorted(&again), "writing only groups the options by section: {canonical:?}");
    let sent = UnitFile::from_options(file.options().to_vec());
    let sent = sent.unwrap_or_else(|err| panic!("{canonical:?} cannot be sent as options: {err}"));
    assert_eq!(sent.canonical(), canonical);
    assert_eq!(file.options_with_lines().count(), file.options().len(), "each option has its line");
}

/// Every value is split, filled in and taken as a pattern, whatever section it stands in.
fn values(name: &UnitName, file: &UnitFile) {
    for option in file.options() {
        for entry in split_value(&option.value) {
            let full = expand_specifiers(name, &entry);
            if let Ok(glob) = Glob::new(&full) {
                let matches = glob.matches(name.as_str());
                assert!(!matches || name.as_str().starts_with(&glob.literal_prefix()), "{full:?} on {name}");
                assert!(glob.literal().is_none_or(|literal| matches == (literal == name.as_str())), "{full:?}");
            }
        }
    }
}

/// The door: lenient is never stricter than strict, and what is let in means the same when it is read from the store.
fn checked(name: &UnitName, text: &str) {
    let lenient = check(name, text, Strictness::Lenient);
    match (&lenient, check(name, text, Strictness::Strict)) {
        (Ok(lenient), Ok(strict)) => {
            assert_eq!(lenient.requirements, strict.requirements);
            assert_eq!(strict.requirements.never, [""; 0], "what can never be placed is refused");
        }
        (Err(problems), Ok(_)) => panic!("lenient is stricter than strict: {problems:?}"),
        (_, Err(problems)) => assert!(!problems.is_empty(), "refused without a reason"),
    }
    let Ok(CheckedUnit { file, requirements, .. }) = lenient else { return };
    let canonical = file.canonical();
    let stored = UnitFile::parse(&canonical).expect("the canonical form can be read");
    assert_eq!(Requirements::of(name, &stored), requirements);
    let again = check(name, &canonical, Strictness::Lenient).expect("what was let in once is let in again");
    assert_eq!(again.requirements, requirements);
    // What is written for systemd has every option of the file, in its order, before those that fleet adds.
    let written = on_disk(name, &canonical, slice_for(name, 32).as_deref());
    let read = UnitFile::parse(&written).unwrap_or_else(|err| panic!("{written:?} cannot be read: {err}"));
    assert!(read.options().starts_with(stored.options()), "{written:?}");
}
