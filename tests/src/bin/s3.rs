//! The S3 server of the tests as a process of its own: `s3 FOLDER PORT` serves until it is killed, and again what is there.

use std::path::PathBuf;

#[tokio::main]
async fn main() {
    let mut args = std::env::args_os().skip(1);
    let folder = args.next().map(PathBuf::from);
    let port = args.next().and_then(|port| port.to_str()?.parse().ok());
    let (Some(folder), Some(port)) = (folder, port) else {
        std::process::exit(2);
    };
    let _server = tests::s3::Server::over(&folder, port).await;
    std::future::pending::<()>().await;
}
