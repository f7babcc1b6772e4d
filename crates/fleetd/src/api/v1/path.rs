//! From a request's target to what it names: paths and query strings, as the original read them.

use std::borrow::Cow;

use fleet_api::v1;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stands as it is in the path of a `Location`.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'@')
    .remove(b':')
    .remove(b'+')
    .remove(b'=')
    .remove(b'&')
    .remove(b'$');

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Something of the API.
    To(Resource),
    /// Another way to write this path.
    Moved(String),
    /// Nothing.
    Nowhere,
}

/// What there is to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `/` or a prefix alone: knows no method.
    Root,
    /// All units.
    Units,
    /// One unit.
    Unit(String),
    /// The states of all units on all machines.
    States,
    /// The state of one unit.
    State(String),
    /// All machines.
    Machines,
    /// The description for clients that make themselves from it.
    Discovery,
}

/// Finds what the path of a request names. It is decoded first, so an encoded slash is a slash.
pub fn find(path: &str) -> Route {
    let Ok(path) = percent_decode_str(path).decode_utf8() else { return Route::Nowhere };
    let clean = clean(&path);
    if clean != path {
        return Route::Moved(utf8_percent_encode(&clean, IN_PATH).to_string());
    }
    if path == "/" {
        return Route::To(Resource::Root);
    }
    let Some(rest) = path.strip_prefix(v1::PREFIX).or_else(|| path.strip_prefix(v1::PREFIX_OLD)) else {
        return Route::Nowhere;
    };
    let resource = match rest.split('/').collect::<Vec<_>>()[..] {
        [""] => Resource::Root,
        ["", "units"] => Resource::Units,
        ["", "units", name] if !name.is_empty() => Resource::Unit(name.to_owned()),
        ["", "state"] => Resource::States,
        ["", "state", name] if !name.is_empty() => Resource::State(name.to_owned()),
        ["", "machines"] => Resource::Machines,
        ["", "discovery"] => Resource::Discovery,
        _ => return Route::Nowhere,
    };
    Route::To(resource)
}

/// The path without empty, `.` and `..` elements; a slash at its end stays.
fn clean(path: &str) -> String {
    let mut elements: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => (),
            ".." => drop(elements.pop()),
            element => elements.push(element),
        }
    }
    let end = if path.ends_with('/') && !elements.is_empty() { "/" } else { "" };
    format!("/{}{end}", elements.join("/"))
}

/// The values of one parameter of a query string, in order. Pairs that cannot be decoded are as if they were not there.
pub fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = query.split('&').filter(|pair| !pair.contains(';') && is_decodable(pair));
    let pairs = pairs.flat_map(|pair| form_urlencoded::parse(pair.as_bytes()));
    pairs.filter(move |(key, _)| key == name).map(|(_, value)| value)
}

/// Whether two hexadecimal digits follow each `%`.
fn is_decodable(pair: &str) -> bool {
    let is_hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
    pair.split('%').skip(1).all(|after| {
        let mut bytes = after.bytes();
        is_hex(bytes.next()) && is_hex(bytes.next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let unit = |name: &str| Resource::Unit(name.to_owned());
        let rows = [
            ("/fleet/v1", Route::To(Resource::Root)),
            ("/v1-alpha", Route::To(Resource::Root)),
            ("/", Route::To(Resource::Root)),
            ("/fleet/v1/units", Route::To(Resource::Units)),
            ("/v1-alpha/units", Route::To(Resource::Units)),
            ("/fleet/v1/units/a.service", Route::To(unit("a.service"))),
            ("/fleet/v1/units/a%40b%2Eservice", Route::To(unit("a@b.service"))),
            ("/fleet/v1/units/%C3%A9", Route::To(unit("é"))),
            ("/fleet/v1/units/a%2Fb", Route::Nowhere),
            ("/fleet/v1/units/a/b", Route::Nowhere),
            ("/fleet/v1/units/%FF", Route::Nowhere),
            ("/fleet/v1/units/", Route::Nowhere),
            ("/fleet/v1/", Route::Nowhere),
            ("/fleet/v1/Units", Route::Nowhere),
            ("/fleet/v1units", Route::Nowhere),
            ("/fleet/v1-alpha/units", Route::Nowhere),
            ("/fleet", Route::Nowhere),
            ("/fleet/v1/state", Route::To(Resource::States)),
            ("/fleet/v1/state/x", Route::To(Resource::State("x".to_owned()))),
            ("/fleet/v1/machines", Route::To(Resource::Machines)),
            ("/fleet/v1/machines/x", Route::Nowhere),
            ("/fleet/v1/discovery", Route::To(Resource::Discovery)),
            ("//fleet/v1/units", Route::Moved("/fleet/v1/units".to_owned())),
            ("/fleet/v1//units/", Route::Moved("/fleet/v1/units/".to_owned())),
            ("/fleet/./v1/units/../state", Route::Moved("/fleet/v1/state".to_owned())),
            ("/fleet/%2e%2e/%2e%2e/x", Route::Moved("/x".to_owned())),
            ("//a%0D%0Ab", Route::Moved("/a%0D%0Ab".to_owned())),
            ("//%5Cevil", Route::Moved("/%5Cevil".to_owned())),
            ("///", Route::Moved("/".to_owned())),
            ("", Route::Moved("/".to_owned())),
        ];
        for (path, expected) in rows {
            assert_eq!(find(path), expected, "{path}");
        }
    }

    #[test]
    fn queries() {
        let rows: &[(&str, &[&str])] = &[
            ("", &[]),
            ("t=1", &["1"]),
            ("t=1&t=2", &["1", "2"]),
            ("t", &[""]),
            ("t=", &[""]),
            ("T=1", &[]),
            ("x=1&alt=json", &[]),
            ("t=%zz", &[]),
            ("t=%4", &[]),
            ("t=%41%", &[]),
            ("t=1;t=2", &[]),
            ("x=%zz&t=1", &["1"]),
            ("t=a%2Bb+c", &["a+b c"]),
        ];
        for (query, expected) in rows {
            assert_eq!(values(query, "t").collect::<Vec<_>>(), *expected, "{query}");
        }
    }
}
