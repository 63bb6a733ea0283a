//! An S3 server in the test's own process: `s3s` over a folder, on a loopback port, with signatures checked. The program `s3` serves the
//! same as a process of its own, for tests that kill it.
//!
//! `s3s-fs` honours `If-None-Match: *`, but looks first and writes later, so that of several such writes that come together more than one
//! can win. The server here makes them one by one. It does not check the checksums of parts; tests look at the requests instead.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::header::IF_NONE_MATCH;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpResponse};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The key that opens every such server.
pub const KEY: &str = "AKIAQUIVERTESTS";
/// Its secret.
pub const SECRET: &str = "hush-this-is-the-secret";
/// The bucket that exists.
pub const BUCKET: &str = "quiver";

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// GET, PUT, ….
    pub method: Method,
    /// Bucket, key and query.
    pub target: String,
    /// Whether it may only create.
    pub creates: bool,
    /// Whether it carries the SHA-256 of its body.
    pub checksum: bool,
}

impl Seen {
    /// Whether it sends a part of a large object.
    pub fn is_part(&self) -> bool {
        self.method == Method::PUT && self.target.contains("partNumber=")
    }
}

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was asked.
    Served,
    /// Nothing; it answers with this status.
    Refused(StatusCode),
    /// What was asked; but it answers with this status.
    ServedBut(StatusCode),
}

/// The variables with which clients reach a server on a loopback port.
pub fn variables(port: u16) -> Vec<(String, String)> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let list = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
    ];
    list.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

type Decide = dyn Fn(&Seen) -> Answer + Send + Sync;

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    /// Goes with the server.
    temporary: Option<TempDir>,
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    service: S3Service,
    decide: Mutex<Arc<Decide>>,
    seen: Mutex<Vec<Seen>>,
    creating: tokio::sync::Mutex<()>,
    parts: AtomicUsize,
    most_parts: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Server {
    /// Starts a server with one empty bucket, in a folder that goes with it.
    ///
    /// # Panics
    /// When it cannot start.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self::over(folder.path(), 0).await;
        server.temporary = Some(folder);
        server
    }

    /// Starts a server over a folder that stays, with its objects, on a port (0 for any).
    ///
    /// # Panics
    /// When it cannot start.
    pub async fn over(folder: &Path, port: u16) -> Self {
        std::fs::create_dir_all(folder.join(BUCKET)).expect("a bucket");
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder).expect("a file system"));
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            service: builder.build(),
            decide: Mutex::new(Arc::new(|_: &Seen| Answer::Served)),
            seen: Mutex::default(),
            creating: tokio::sync::Mutex::default(),
            parts: AtomicUsize::new(0),
            most_parts: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(Arc::clone(&shared), stream));
                }
            }
        });
        Self { folder: folder.to_owned(), temporary: None, port, shared, accepting }
    }

    /// The variables with which clients reach it.
    pub fn variables(&self) -> Vec<(String, String)> {
        variables(self.port)
    }

    /// The folder that holds the bucket's objects.
    pub fn objects(&self) -> PathBuf {
        self.folder.join(BUCKET)
    }

    /// Files beside the bucket: parts of uploads that have neither ended nor been aborted.
    ///
    /// # Panics
    /// When the folder cannot be read.
    pub fn unfinished(&self) -> usize {
        let entries = std::fs::read_dir(&self.folder).expect("the server's folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        entries.map(name).filter(|name| name.to_string_lossy().contains("upload")).count()
    }

    /// From now on this decides what happens to each request.
    pub fn decide(&self, decide: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.shared.decide.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(decide);
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The most parts that were on their way at once.
    pub fn most_parts(&self) -> usize {
        self.shared.most_parts.load(Ordering::Relaxed)
    }

    /// Where an object lies, so that tests can damage it.
    pub fn object(&self, key: &str) -> PathBuf {
        self.objects().join(Path::new(key))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.answer(request).await }
    });
    // A client that goes away is no concern of the server's.
    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
        let seen = Seen {
            method: request.method().clone(),
            target: request.uri().to_string(),
            creates: request.headers().get(IF_NONE_MATCH).is_some_and(|value| value == "*"),
            checksum: request.headers().contains_key("x-amz-checksum-sha256"),
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        let decide = Arc::clone(&self.decide.lock().unwrap_or_else(PoisonError::into_inner));
        let answer = decide(&seen);
        if let Answer::Refused(status) = answer {
            return Ok(fault(status));
        }
        if seen.is_part() {
            let parts = self.parts.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_parts.fetch_max(parts, Ordering::Relaxed);
        }
        let one_by_one = if seen.creates { Some(self.creating.lock().await) } else { None };
        let response = self.service.call(request.map(Body::from)).await;
        drop(one_by_one);
        if seen.is_part() {
            self.parts.fetch_sub(1, Ordering::Relaxed);
        }
        match answer {
            Answer::ServedBut(status) => response.map(|_| fault(status)),
            Answer::Served | Answer::Refused(_) => response,
        }
    }
}

/// An answer as S3 words it.
fn fault(status: StatusCode) -> HttpResponse {
    let text = format!("<Error><Code>Fault{}</Code><Message>on\npurpose</Message></Error>", status.as_u16());
    let mut response = HttpResponse::new(Body::from(text));
    *response.status_mut() = status;
    response
}
