//! Input folders: one per artifact and node, linked from the cache, shared by every job that reads the artifact. Equal inputs so have
//! equal paths, by which runners recognise what they have loaded. A folder goes with the last job that reads it, and the cache may then
//! evict what it held.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::{StreamExt, TryStreamExt};
use proto::id::Digest;
use proto_kit::offload::offload;
use tokio::sync::OnceCell;
use worker_artifacts::{ArtifactRef, Artifacts, Cache, Result};

/// Artifacts of one job that are fetched at once.
const FETCHES: usize = 8;

/// The node's inputs.
#[derive(Debug)]
pub(crate) struct Inputs {
    artifacts: Artifacts,
    cache: Cache,
    held: Arc<Held>,
}

/// The folders of one job's inputs. They stay while this lives.
#[derive(Clone, Debug)]
pub(crate) struct Folders(BTreeMap<String, Arc<Folder>>);

impl Folders {
    /// The folders by the inputs' names.
    pub(crate) fn paths(&self) -> BTreeMap<String, PathBuf> {
        self.0.iter().map(|(name, folder)| (name.clone(), folder.path.clone())).collect()
    }
}

/// Where the folders are, and which of them somebody holds.
#[derive(Debug)]
struct Held {
    place: PathBuf,
    folders: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    folders: BTreeMap<Digest, Weak<Folder>>,
    /// Folders that were given up so far, which numbers the next one.
    gone: u64,
}

/// An artifact's files, while somebody holds them.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    digest: Digest,
    complete: OnceCell<()>,
    held: Arc<Held>,
}

impl Inputs {
    /// Inputs from `artifacts` through `cache`, in `folder`.
    pub(crate) fn new(artifacts: Artifacts, cache: Cache, folder: PathBuf) -> Self {
        Self { artifacts, cache, held: Arc::new(Held { place: folder, folders: Mutex::default() }) }
    }

    /// The folders of a job's inputs, each complete and verified.
    pub(crate) async fn folders(&self, inputs: &BTreeMap<String, ArtifactRef>) -> Result<Folders> {
        let fetches = inputs.clone().into_iter().map(|(name, artifact)| async move {
            let folder = self.held.folder(artifact.digest);
            let fetched = folder.complete.get_or_try_init(|| async {
                self.artifacts.fetch(&artifact, &folder.path, Some(&self.cache)).await.map(drop)
            });
            fetched.await?;
            Ok((name, folder))
        });
        futures::stream::iter(fetches).buffer_unordered(FETCHES).try_collect().await.map(Folders)
    }

    /// Writes a checkpoint into a folder of its attempt's own.
    pub(crate) async fn checkpoint(&self, artifact: &ArtifactRef, into: &Path) -> Result<()> {
        self.artifacts.fetch(artifact, into, None).await.map(drop)
    }
}

impl Held {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(self: &Arc<Self>, digest: Digest) -> Arc<Folder> {
        let mut table = self.table();
        if let Some(folder) = table.folders.get(&digest).and_then(Weak::upgrade) {
            return folder;
        }
        let path = self.place.join(digest.to_string());
        // The last holder is just going and has not come to it: its folder must be out of the way before the new one is filled.
        if table.folders.remove(&digest).is_some() {
            self.give_up(&mut table, &path);
        }
        let folder = Folder { path, digest, complete: OnceCell::new(), held: Arc::clone(self) };
        let folder = Arc::new(folder);
        table.folders.insert(digest, Arc::downgrade(&folder));
        folder
    }

    /// Moves a folder aside at once, so that its path is free, and removes it in the background.
    fn give_up(&self, table: &mut Table, path: &Path) {
        let aside = self.place.join(format!(".gone.{}", table.gone));
        table.gone += 1;
        match std::fs::rename(path, &aside) {
            Ok(()) => {}
            // Nothing of it was fetched.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(%error, folder = %path.display(), "an input folder could not be moved aside");
                return;
            }
        }
        let remove = move || {
            if let Err(error) = std::fs::remove_dir_all(&aside) {
                tracing::debug!(%error, folder = %aside.display(), "an input folder could not be removed");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(offload(remove))),
            Err(_) => remove(),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut table = self.held.table();
        // A newer folder of the same artifact has moved this one aside already.
        let own = std::ptr::from_ref::<Self>(self);
        if table.folders.get(&self.digest).is_some_and(|known| std::ptr::eq(known.as_ptr(), own)) {
            table.folders.remove(&self.digest);
            self.held.give_up(&mut table, &self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_kit::clock::ManualClock;
    use worker_artifacts::{Import, ImportFile, Source};

    use super::*;

    struct World {
        folder: tempfile::TempDir,
        inputs: Inputs,
        artifacts: Artifacts,
    }

    impl World {
        fn new(limit: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let artifacts = Artifacts::open(&folder.path().join("store").to_string_lossy()).unwrap();
            let clock = Arc::new(ManualClock::new(0));
            let cache = Cache::open(&folder.path().join("cache"), Some(limit), clock).unwrap();
            let inputs = Inputs::new(artifacts.clone(), cache, folder.path().join("inputs"));
            Self { folder, inputs, artifacts }
        }

        async fn artifact(&self, content: Vec<u8>) -> BTreeMap<String, ArtifactRef> {
            let source = Source::Bytes(content.into());
            let file = ImportFile { path: "file".to_owned(), source };
            let import = Import::plan("input", vec![file]).unwrap();
            BTreeMap::from([("input".to_owned(), self.artifacts.put_import(&import).await.unwrap())])
        }

        fn entries(&self, folder: &str) -> usize {
            std::fs::read_dir(self.folder.path().join(folder)).map_or(0, Iterator::count)
        }

        /// Waits until background removals are done.
        async fn settled(&self) {
            let gone = || {
                let entries = std::fs::read_dir(self.folder.path().join("inputs")).unwrap();
                entries.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
            };
            while gone() > 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_folder_stays_for_its_last_reader_and_its_content_can_then_go() {
        let world = World::new(150);
        let (one, two) = (world.artifact(vec![1; 100]).await, world.artifact(vec![2; 100]).await);
        let first = world.inputs.folders(&one).await.unwrap();
        let again = world.inputs.folders(&one).await.unwrap();
        assert_eq!(first.paths(), again.paths());
        drop(first);
        let file = again.paths()["input"].join("file");
        assert_eq!(std::fs::read(&file).unwrap(), [1; 100]);

        // What is read stays, even beyond the limit.
        let other = world.inputs.folders(&two).await.unwrap();
        assert_eq!((world.entries("cache"), world.entries("inputs")), (2, 2));
        drop((again, other));
        assert!(!file.exists());
        world.settled().await;
        assert_eq!((world.entries("cache"), world.entries("inputs")), (2, 0));
        let three = world.artifact(vec![3; 100]).await;
        let third = world.inputs.folders(&three).await.unwrap();
        assert_eq!((world.entries("cache"), world.entries("inputs")), (1, 1));
        drop(third);
    }

    #[tokio::test]
    async fn an_artifact_comes_back_to_the_same_path() {
        let world = World::new(1000);
        let one = world.artifact(vec![1; 100]).await;
        let mut paths = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let folders = world.inputs.folders(&one).await.unwrap();
            assert_eq!(std::fs::read(folders.paths()["input"].join("file")).unwrap(), [1; 100]);
            paths.insert(folders.paths());
        }
        assert_eq!(paths.len(), 1);
        world.settled().await;
        assert_eq!((world.entries("cache"), world.entries("inputs")), (1, 0));
    }

    #[tokio::test]
    async fn what_could_not_be_fetched_leaves_no_folder_and_is_tried_again() {
        let world = World::new(1000);
        let one = world.artifact(vec![1; 100]).await;
        let store = world.folder.path().join("store");
        std::fs::rename(store.join("blobs"), store.join("away")).unwrap();
        assert!(world.inputs.folders(&one).await.is_err());
        world.settled().await;
        assert_eq!(world.entries("inputs"), 0);
        std::fs::rename(store.join("away"), store.join("blobs")).unwrap();
        world.inputs.folders(&one).await.unwrap();
    }
}
