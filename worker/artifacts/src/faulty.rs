//! A store that fails on purpose, for tests and simulations: a function decides what happens to each call, so that a seed decides a run.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Writes a small object.
    Put,
    /// Begins a large one.
    Begin,
    /// Sends a part.
    Part,
    /// Makes the object of its parts.
    Complete,
    /// Gives up a large object.
    Abort,
    /// Reads an object.
    Get,
    /// Looks an object up.
    Head,
    /// Lists objects.
    List,
    /// Deletes an object.
    Delete,
}

/// A call that the store is about to make.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it does.
    pub operation: Operation,
    /// To which object; empty for a listing.
    pub key: String,
    /// How many calls came before it.
    pub number: u64,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails and has done nothing.
    Before,
    /// It is done, and the caller hears that it failed.
    After,
    /// It is done later.
    Delay(Duration),
    /// A read breaks off after so many bytes. Other calls are not touched.
    Partial(u64),
}

type Decide = dyn Fn(&Call) -> Fault + Send + Sync;

/// An object store whose calls meet what a function decides.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

#[derive(Clone)]
struct Faults {
    decide: Arc<Decide>,
    calls: Arc<AtomicU64>,
}

impl FaultyStore {
    /// Wraps a store. `decide` is asked once for each call, in the order in which calls are made.
    pub fn new(inner: Arc<dyn ObjectStore>, decide: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> Self {
        Self { inner, faults: Faults { decide: Arc::new(decide), calls: Arc::default() } }
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn fault(when: &str, call: &Call) -> Error {
    let Call { operation, key, number } = call;
    Error::Generic { store: "faulty", source: format!("{when} call {number}: {operation:?} {key}").into() }
}

impl Faults {
    fn meet(&self, operation: Operation, key: &str) -> (Call, Fault) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let call = Call { operation, key: key.to_owned(), number };
        let fault = (self.decide)(&call);
        (call, fault)
    }

    async fn around<T>(&self, met: (Call, Fault), done: impl Future<Output = Result<T>>) -> Result<T> {
        let (call, met) = met;
        match met {
            Fault::Before => return Err(fault("before", &call)),
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::None | Fault::After | Fault::Partial(_) => {}
        }
        let done = done.await?;
        if met == Fault::After { Err(fault("after", &call)) } else { Ok(done) }
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, key: &Key, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let met = self.faults.meet(Operation::Put, key.as_ref());
        self.faults.around(met, self.inner.put_opts(key, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Key,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let met = self.faults.meet(Operation::Begin, key.as_ref());
        let inner = self.faults.around(met, self.inner.put_multipart_opts(key, options)).await?;
        Ok(Box::new(FaultyUpload { inner, faults: self.faults.clone(), key: key.to_string() }))
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { Operation::Head } else { Operation::Get };
        let met = self.faults.meet(operation, key.as_ref());
        let (call, partial) = (met.0.clone(), met.1);
        let mut result = self.faults.around(met, self.inner.get_opts(key, options)).await?;
        if let (Operation::Get, Fault::Partial(bytes)) = (operation, partial) {
            let range = result.range.clone();
            let meta = result.meta.clone();
            let attributes = std::mem::take(&mut result.attributes);
            let extensions = std::mem::take(&mut result.extensions);
            let payload = GetResultPayload::Stream(broken(result, bytes, call));
            return Ok(GetResult { payload, meta, range, attributes, extensions });
        }
        Ok(result)
    }

    async fn get_ranges(&self, key: &Key, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let met = self.faults.meet(Operation::Get, key.as_ref());
        self.faults.around(met, self.inner.get_ranges(key, ranges)).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        let (inner, faults) = (Arc::clone(&self.inner), self.faults.clone());
        let deleted = keys.then(move |key| {
            let (inner, faults) = (Arc::clone(&inner), faults.clone());
            async move {
                let key = key?;
                let met = faults.meet(Operation::Delete, key.as_ref());
                let mut one = inner.delete_stream(futures::stream::iter([Ok(key.clone())]).boxed());
                faults.around(met, async { one.next().await.unwrap_or(Ok(key)) }).await
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        let met = self.faults.meet(Operation::List, "");
        let (faults, inner) = (self.faults.clone(), self.inner.list(prefix));
        let listed = async move { faults.around(met, async { Ok(inner) }).await };
        listed.into_stream().try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        let met = self.faults.meet(Operation::List, "");
        self.faults.around(met, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        let met = self.faults.meet(Operation::Put, to.as_ref());
        self.faults.around(met, self.inner.copy_opts(from, to, options)).await
    }
}

/// A read that breaks off.
fn broken(result: GetResult, bytes: u64, call: Call) -> BoxStream<'static, Result<Bytes>> {
    let pieces = result.into_stream().map_ok(move |mut piece| {
        piece.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        piece
    });
    pieces.take(1).chain(futures::stream::once(async move { Err(fault("within", &call)) })).boxed()
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Faults,
    key: String,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let met = self.faults.meet(Operation::Part, &self.key);
        let faults = self.faults.clone();
        let sent = self.inner.put_part(data);
        async move { faults.around(met, sent).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let met = self.faults.meet(Operation::Complete, &self.key);
        self.faults.around(met, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        let met = self.faults.meet(Operation::Abort, &self.key);
        self.faults.around(met, self.inner.abort()).await
    }
}
