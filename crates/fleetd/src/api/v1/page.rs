//! Pages of a list, and the tokens that ask for the next one.
//!
//! A token is the original's, to the byte: the page's size and number, each in 16 bits with the low byte first, in URL-safe
//! base64 with its padding. There is no cursor behind it: each page is cut out of the list as it then is.

use base64::alphabet::URL_SAFE;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};

/// The original did not look at the bits that are left over in the last character.
const TOKENS: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The parameter that carries it.
pub const PARAMETER: &str = "nextPageToken";

/// One page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    limit: u16,
    /// From 1.
    number: u16,
}

/// Why a token cannot be used. The words are the original's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("too many values for page token")]
    Several,
    #[error("EOF")]
    Empty,
    #[error("illegal base64 data at input byte {at}")]
    NotBase64 { at: usize },
    #[error("unexpected EOF")]
    Short,
    #[error("token limit must be {limit}")]
    OtherLimit { limit: u16 },
    #[error("token page must be greater than zero")]
    Zero,
}

impl Page {
    /// The page that a query asks for: the first one if it carries no token.
    pub fn asked(query: &str, limit: u16) -> Result<Page, TokenError> {
        let mut tokens = super::path::values(query, PARAMETER);
        match (tokens.next(), tokens.next()) {
            (None, _) => Ok(Page { limit, number: 1 }),
            (Some(token), None) => Page::read(&token, limit),
            (Some(_), Some(_)) => Err(TokenError::Several),
        }
    }

    fn read(token: &str, limit: u16) -> Result<Page, TokenError> {
        let bytes = TOKENS.decode(token).map_err(|err| TokenError::NotBase64 {
            at: match err {
                DecodeError::InvalidByte(at, _) => at,
                // What is missing is missing from the last group of four.
                _ => token.len() / 4 * 4,
            },
        })?;
        // More than four bytes are as good as four.
        let [l0, l1, n0, n1, ..] = bytes[..] else {
            return Err(if bytes.is_empty() { TokenError::Empty } else { TokenError::Short });
        };
        let page = Page { limit: u16::from_le_bytes([l0, l1]), number: u16::from_le_bytes([n0, n1]) };
        if page.limit != limit {
            Err(TokenError::OtherLimit { limit })
        } else if page.number == 0 {
            Err(TokenError::Zero)
        } else {
            Ok(page)
        }
    }

    /// What of a list is on this page.
    pub fn cut<T>(self, list: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        list.skip(usize::from(self.limit) * usize::from(self.number - 1)).take(self.limit.into())
    }

    /// The token of the next page of a list of `total` entries. A list that ends with this page has one more page, an empty one,
    /// as in the original.
    pub fn next(self, total: usize) -> Option<String> {
        let number = self.number.checked_add(1)?;
        let seen = usize::from(self.limit) * usize::from(self.number);
        (seen <= total).then(|| Page { number, ..self }.token())
    }

    fn token(self) -> String {
        let ([l0, l1], [n0, n1]) = (self.limit.to_le_bytes(), self.number.to_le_bytes());
        TOKENS.encode([l0, l1, n0, n1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let page = |number| Ok(Page { limit: 100, number });
        let rows = [
            ("", page(1)),
            ("alt=json", page(1)),
            ("nextPageToken=ZAABAA==", page(1)),
            ("nextPageToken=ZAACAA==", page(2)),
            ("nextPageToken=ZAACAB==", page(2)),
            ("nextPageToken=ZAACAAAA", page(2)),
            ("nextPageToken=ZAD__w==", page(65_535)),
            ("nexttoken=ZAACAA==", page(1)),
            ("nextPageToken=ZAACAA==&nextPageToken=ZAACAA==", Err(TokenError::Several)),
            ("nextPageToken=", Err(TokenError::Empty)),
            ("nextPageToken=ZAACAA", Err(TokenError::NotBase64 { at: 4 })),
            ("nextPageToken=ZA*CAA==", Err(TokenError::NotBase64 { at: 2 })),
            ("nextPageToken=ZAD//w==", Err(TokenError::NotBase64 { at: 3 })),
            ("nextPageToken=ZAAC", Err(TokenError::Short)),
            ("nextPageToken=ZQACAA==", Err(TokenError::OtherLimit { limit: 100 })),
            ("nextPageToken=ZAAAAA==", Err(TokenError::Zero)),
        ];
        for (query, expected) in rows {
            assert_eq!(Page::asked(query, 100), expected, "{query}");
        }
    }

    #[test]
    fn pages() {
        let check = |limit, number, total: usize, expected: std::ops::Range<usize>, next: Option<&str>| {
            let page = Page { limit, number };
            let cut: Vec<usize> = page.cut(0..total).collect();
            assert_eq!(cut, expected.collect::<Vec<_>>(), "page {number} of {limit} in {total}");
            assert_eq!(page.next(total).as_deref(), next, "after page {number} of {limit} in {total}");
        };
        check(100, 1, 0, 0..0, None);
        check(100, 1, 99, 0..99, None);
        check(100, 1, 100, 0..100, Some("ZAACAA=="));
        check(100, 2, 100, 0..0, None);
        check(100, 1, 101, 0..100, Some("ZAACAA=="));
        check(100, 2, 101, 100..101, None);
        // The original multiplied in 16 bits here.
        check(100, 656, 65_600, 65_500..65_600, Some("ZACRAg=="));
        // No token has a larger number.
        check(1, 65_535, 70_000, 65_534..65_535, None);
        check(65_535, 2, 70_000, 65_535..70_000, None);
    }
}
