use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::hash_bytes;

fn digest(n: u8) -> Digest {
    hash_bytes(&[n]).digest
}

/// Keys as this crate writes them.
fn own_key() -> impl Strategy<Value = String> {
    (any::<u8>(), 0..4_u8, 1..5_u32, any::<u64>()).prop_map(|(n, kind, attempt, step)| match kind {
        0 => format!("blobs/sha256/{}", digest(n)),
        1 => format!("manifests/{}/{attempt}", digest(n)),
        2 => format!("manifests/imports/{}", digest(n)),
        _ => format!("checkpoints/{}/{attempt}/{step}", digest(n)),
    })
}

fn listed() -> impl Strategy<Value = Listed> {
    let foreign = "[a-z]{1,9}(/[a-z0-9]{1,9}){0,3}";
    (prop_oneof![4 => own_key(), 1 => foreign], 0..1_000_u64, -5_000..5_000_i64)
        .prop_map(|(key, size, modified_micros)| Listed { key, size, modified_micros })
}

proptest! {
    #[test]
    fn only_old_unreferenced_objects_of_ours_are_garbage(
        listing in vec(listed(), 0..40),
        references in btree_set(own_key(), 0..20),
        grace in 0..4_000_u64,
        now in -5_000..5_000_i64,
    ) {
        let found = garbage(&listing, &references, Duration::from_micros(grace), now);
        for object in &listing {
            let wanted = kind_of(&object.key).is_some()
                && !references.contains(&object.key)
                && object.modified_micros + i64::try_from(grace).unwrap() < now;
            prop_assert_eq!(found.contains(&object), wanted, "{:?}", object);
        }
    }

    #[test]
    fn what_is_referenced_or_young_or_foreign_is_never_garbage_whatever_the_clocks_say(
        object in listed(),
        modified in any::<i64>(),
        now in any::<i64>(),
    ) {
        let object = Listed { modified_micros: modified, ..object };
        let references = BTreeSet::from([object.key.clone()]);
        prop_assert!(garbage([&object], &references, Duration::ZERO, now).is_empty());
        let young = Listed { modified_micros: now, ..object.clone() };
        prop_assert!(garbage([&young], &BTreeSet::new(), Duration::ZERO, now).is_empty());
        prop_assert!(garbage([&object], &BTreeSet::new(), Duration::MAX, now).is_empty());
        let foreign = Listed { key: format!("others/{}", object.key), ..object };
        prop_assert!(garbage([&foreign], &BTreeSet::new(), Duration::ZERO, i64::MAX).is_empty());
    }
}

#[test]
fn keys_of_others_are_not_ours() {
    let name = digest(1);
    for (key, kind) in [
        (format!("blobs/sha256/{name}"), "blobs"),
        (format!("manifests/{name}/3"), "manifests"),
        (format!("manifests/imports/{name}"), "imports"),
        (format!("checkpoints/{name}/3/40"), "checkpoints"),
        (format!("logs/{name}/3/0"), "logs"),
    ] {
        assert_eq!(kind_of(&key), Some(kind));
        assert_eq!((kind_of(&format!("{key}/more")), kind_of(&format!("x/{key}"))), (None, None));
    }
    for key in ["", "blobs", "blobs/sha256/x", "manifests/x/1", "notes.txt", "manifests/imports/x"] {
        assert_eq!(kind_of(key), None);
    }
}
