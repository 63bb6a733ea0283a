//! The object store: in memory, outlives every machine, and fails as the weather says.

use std::sync::Arc;
use std::time::Duration;

use coordinator_store::model::Artifact;
use futures::FutureExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proto::id::Digest;
use worker_artifacts::faulty::{Call, Fault, FaultyStore, Operation};
use worker_artifacts::{Artifacts, Manifest, hash_bytes};

use crate::world::{Fate, World};

/// The store's address.
pub(crate) const URL: &str = "memory:///";

/// The store as a machine sees it.
pub(crate) fn open(world: &Arc<World>, host: &str) -> Artifacts {
    let (seen, host) = (Arc::clone(world), host.to_owned());
    let store: Arc<dyn ObjectStore> = Arc::clone(&world.objects) as _;
    Artifacts::over(Arc::new(FaultyStore::new(store, move |call| decide(&seen, &host, call))), URL)
}

fn decide(world: &World, host: &str, call: &Call) -> Fault {
    let frozen = world.frozen_for(host);
    if !frozen.is_zero() {
        return Fault::Delay(frozen);
    }
    let fault = match world.fate() {
        Fate::Takes(time) => Fault::Delay(time),
        Fate::Before if call.operation == Operation::Get => Fault::Partial(1),
        Fate::Before => Fault::Before,
        Fate::After => Fault::After,
        Fate::Twice | Fate::Late(_) => Fault::None,
        Fate::CrashBefore | Fate::CrashAfter => {
            world.kill(host);
            Fault::Delay(Duration::from_secs(3600))
        }
    };
    if !matches!(fault, Fault::None | Fault::Delay(_)) {
        world.note(host, format_args!("{:?} {} meets {fault:?}", call.operation, call.key));
    }
    fault
}

/// Whether an artifact's manifest and all that it names are there, with the digests that they should have.
///
/// # Errors
/// What is missing or different.
pub(crate) fn whole(objects: &InMemory, artifact: &Artifact) -> Result<Manifest, String> {
    let bytes = read(objects, &artifact.path, artifact.digest)?;
    let manifest = Manifest::decode(&artifact.path, &bytes).map_err(|error| error.to_string())?;
    for file in &manifest.files {
        read(objects, &file.blob().object(), file.sha256)?;
    }
    Ok(manifest)
}

/// An object, which is there and has its digest.
pub(crate) fn read(objects: &InMemory, object: &str, digest: Digest) -> Result<Vec<u8>, String> {
    let bytes = async { objects.get(&Path::from(object)).await?.bytes().await };
    let bytes = bytes.now_or_never().ok_or("memory does not answer")?.map_err(|error| error.to_string())?;
    if hash_bytes(&bytes).digest != digest {
        return Err(format!("{object} has another digest than {digest}"));
    }
    Ok(bytes.to_vec())
}
