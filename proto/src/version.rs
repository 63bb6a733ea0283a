//! Which builds speak the same contract.

/// The version of this build.
pub const OWN: &str = env!("CARGO_PKG_VERSION");

/// Whether a program of another version speaks this build's contract: up to 1.0 those of the same minor version, then those of the same
/// major one.
pub fn speaks(other: &str) -> bool {
    contract(other).is_some_and(|other| Some(other) == contract(OWN))
}

/// The part of `major.minor.patch` that names a contract.
fn contract(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.').map(|part| part.parse::<u64>().ok());
    let (major, minor, _patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some((major, if major == 0 { minor } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_speak_alike_and_contracts_differ() {
        assert!(speaks(OWN));
        for (one, other, alike) in [
            ("0.1.0", "0.1.9", true),
            ("0.1.0", "0.2.0", false),
            ("1.2.0", "1.9.4", true),
            ("1.0.0", "2.0.0", false),
            ("0.1.0", "1.1.0", false),
        ] {
            assert_eq!(contract(one) == contract(other), alike, "{one} {other}");
        }
        for nonsense in ["", "0", "0.1", "0.1.x", "0.1.0.0", " 0.1.0", "0.1.-1"] {
            assert_eq!(contract(nonsense), None, "{nonsense}");
        }
    }
}
