//! Where coordinators are reached, as people write it: one address, or several with commas between.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// One coordinator's address: a scheme, a host and, where it is not the scheme's own, a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    is_encrypted: bool,
    is_loopback: bool,
}

/// A text that names no coordinator: one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// An address that makes no sense.
    #[error("`{text}` is no address of a coordinator: {why}")]
    Malformed {
        /// As written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// One address stands twice in a list.
    #[error("`{0}` is named twice")]
    Twice(String),
    /// A list without an address.
    #[error("no coordinator is named")]
    None,
}

impl Address {
    /// The address with its scheme.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether calls to it are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether calls to it never leave this machine.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Reads a list with commas between.
    ///
    /// # Errors
    /// When it is empty, one address makes no sense, or one stands twice.
    pub fn list(text: &str) -> Result<Vec<Self>, AddressError> {
        let mut list: Vec<Self> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let address: Self = part.parse()?;
            if list.contains(&address) {
                return Err(AddressError::Twice(address.text));
            }
            list.push(address);
        }
        if list.is_empty() { Err(AddressError::None) } else { Ok(list) }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `http://host:port`, `https://host:port` or `host:port`, which is the former.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| AddressError::Malformed { text: text.to_owned(), why: why.to_owned() };
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&full).map_err(|error| wrong(&error.to_string()))?;
        let is_encrypted = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Malformed {
                text: url.host_str().unwrap_or_default().to_owned(),
                why: "it must not carry a user or a password".to_owned(),
            });
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("nothing may follow host and port"));
        }
        let is_loopback = match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => return Err(wrong("it names no host")),
        };
        Ok(Self { text: url.as_str().trim_end_matches('/').to_owned(), is_encrypted, is_loopback })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Vec<String>, String> {
        let list = Address::list(text).map_err(|error| error.to_string())?;
        Ok(list.into_iter().map(|address| address.text).collect())
    }

    #[test]
    fn several_stand_with_commas_between_and_may_lack_a_scheme() {
        let expected = ["http://10.0.0.1:7700", "https://head-2.local"].map(str::to_owned).to_vec();
        assert_eq!(list(" 10.0.0.1:7700 ,https://head-2.local/,"), Ok(expected));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, why) in [
            ("", "no coordinator is named"),
            (" , ", "no coordinator is named"),
            ("a:1,http://a:1/", "`http://a:1` is named twice"),
            (
                "a:1,ftp://b",
                "`ftp://b` is no address of a coordinator: it must begin with http:// or https://",
            ),
            ("http://", "`http://` is no address of a coordinator: empty host"),
            ("a:70000", "`a:70000` is no address of a coordinator: invalid port number"),
            (
                "http://a:1/x",
                "`http://a:1/x` is no address of a coordinator: nothing may follow host and port",
            ),
            (
                "http://u:secret@a:1",
                "`a` is no address of a coordinator: it must not carry a user or a password",
            ),
        ] {
            assert_eq!(list(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn only_the_loopback_is_this_machine() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        for own in ["127.0.0.1:1", "http://127.9.9.9:1", "http://[::1]:7700", "https://LOCALHOST:1"] {
            assert!(address(own).is_loopback(), "{own}");
        }
        for other in
            ["10.0.0.1:1", "http://[fe80::1]:1", "http://localhost.example.com:1", "http://127.example.com:1"]
        {
            assert!(!address(other).is_loopback(), "{other}");
        }
        assert!(address("https://a").is_encrypted() && !address("a:1").is_encrypted());
    }
}
