use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proto_kit::clock::ManualClock;
use tempfile::TempDir;

use super::*;

struct World {
    folder: TempDir,
    artifacts: Artifacts,
    clock: ManualClock,
    blobs: Vec<Blob>,
}

impl World {
    /// Contents of these sizes in a store.
    async fn new(sizes: &[usize]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(&folder.path().join("store").to_string_lossy()).unwrap();
        let mut blobs = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            blobs.push(artifacts.put_bytes(vec![u8::try_from(number).unwrap(); *size].into()).await.unwrap());
        }
        std::fs::create_dir(folder.path().join("used")).unwrap();
        Self { folder, artifacts, clock: ManualClock::new(1_000_000), blobs }
    }

    fn open(&self, limit: u64) -> Cache {
        Cache::open(&self.folder.path().join("cache"), Some(limit), Arc::new(self.clock.clone())).unwrap()
    }

    fn target(&self, number: usize) -> PathBuf {
        self.folder.path().join("used").join(number.to_string())
    }

    async fn take(&self, cache: &Cache, number: usize) {
        self.clock.advance(Duration::from_secs(1));
        cache.link(&self.artifacts, &self.blobs[number], &self.target(number)).await.unwrap();
    }

    fn release(&self, number: usize) {
        drop(std::fs::remove_file(self.target(number)));
    }

    /// The contents that lie in the cache.
    fn cached(&self) -> BTreeSet<usize> {
        let entries = std::fs::read_dir(self.folder.path().join("cache")).unwrap();
        let numbers = entries.map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            self.blobs.iter().position(|blob| blob.digest.to_string() == name).unwrap()
        });
        numbers.collect()
    }
}

#[tokio::test]
async fn the_least_recently_used_goes_first_also_after_a_restart() {
    let world = World::new(&[100, 101, 102, 103]).await;
    let cache = world.open(320);
    for number in [0, 1, 2, 0] {
        world.take(&cache, number).await;
        world.release(number);
    }
    let cache = world.open(320);
    world.take(&cache, 3).await;
    assert_eq!(world.cached(), BTreeSet::from([0, 2, 3]));
}

#[tokio::test]
async fn what_is_in_use_stays_even_beyond_the_limit() {
    let world = World::new(&[100, 101, 102]).await;
    let cache = world.open(150);
    for number in [0, 1, 2] {
        world.take(&cache, number).await;
    }
    assert_eq!(world.cached(), BTreeSet::from([0, 1, 2]));
    for number in [0, 1] {
        world.release(number);
    }
    let other = world.artifacts.put_bytes(vec![9; 30].into()).await.unwrap();
    cache.link(&world.artifacts, &other, &world.target(9)).await.unwrap();
    assert_eq!(std::fs::read(world.target(2)).unwrap(), [2; 102]);
    assert_eq!(std::fs::read_dir(world.folder.path().join("cache")).unwrap().count(), 2);
}

#[tokio::test]
async fn what_another_process_evicted_is_fetched_again() {
    let world = World::new(&[100]).await;
    let cache = world.open(1000);
    world.take(&cache, 0).await;
    world.release(0);
    std::fs::remove_file(cache.shared.path(world.blobs[0].digest)).unwrap();
    world.take(&cache, 0).await;
    assert_eq!(std::fs::read(world.target(0)).unwrap(), [0; 100]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_users_of_two_caches_over_one_folder_that_is_too_small() {
    let world = Arc::new(World::new(&[1000, 1001, 1002, 1003, 1004, 1005]).await);
    let caches = [world.open(2500), world.open(2500)];
    let mut users = tokio::task::JoinSet::new();
    for user in 0..8 {
        let (world, cache) = (Arc::clone(&world), caches[user % 2].clone());
        users.spawn(async move {
            for round in 0..30 {
                let number = (user * 7 + round * 5) % 6;
                let target = world.folder.path().join("used").join(format!("{user}.{round}"));
                cache.link(&world.artifacts, &world.blobs[number], &target).await.unwrap();
                assert_eq!(hash_file(&target).unwrap(), world.blobs[number]);
                std::fs::remove_file(target).unwrap();
            }
        });
    }
    users.join_all().await;
    assert!(caches.iter().all(|cache| cache.shared.state().reserved == 0));
}

#[tokio::test]
async fn a_dead_process_leaves_nothing_for_good() {
    let world = World::new(&[100, 100]).await;
    let cache = world.open(1000);
    let left = world.folder.path().join("cache").join(".digest.0123.0.part");
    std::fs::write(&left, "half").unwrap();
    world.take(&cache, 0).await;
    assert!(left.exists(), "its process may live");
    world.clock.advance(SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(90_000));
    world.take(&cache, 1).await;
    assert!(!left.exists());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    Release(usize),
    Restart,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The cache against a list of what was used when.
    #[test]
    fn evictions_follow_the_model(
        steps in vec(
            prop_oneof![
                5 => (0..6_usize).prop_map(Step::Take),
                4 => (0..6_usize).prop_map(Step::Release),
                1 => Just(Step::Restart),
            ],
            1..50,
        ),
        limit in 50..400_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let sizes = [50, 61, 72, 83, 94, 105];
            let world = World::new(&sizes).await;
            let size = |number: usize| u64::try_from(sizes[number]).unwrap();
            let mut cache = world.open(limit);
            // Least recently used first.
            let mut held: Vec<usize> = Vec::new();
            let mut used = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Take(number) => {
                        world.take(&cache, number).await;
                        if !held.contains(&number) {
                            let total = |held: &[usize]| held.iter().map(|n| size(*n)).sum::<u64>();
                            while total(&held) + size(number) > limit {
                                let Some(at) = held.iter().position(|n| !used.contains(n)) else { break };
                                held.remove(at);
                            }
                        }
                        held.retain(|n| *n != number);
                        held.push(number);
                        used.insert(number);
                    }
                    Step::Release(number) => {
                        world.release(number);
                        used.remove(&number);
                    }
                    Step::Restart => cache = world.open(limit),
                }
                assert_eq!(world.cached(), held.iter().copied().collect());
                for number in &used {
                    assert_eq!(std::fs::read(world.target(*number)).unwrap().len(), sizes[*number]);
                }
            }
        });
    }
}
