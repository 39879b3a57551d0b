//! A server on tokio and axum. It ends with 42 when it is told to.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::Notify;

#[derive(serde::Serialize)]
struct Item {
    name: String,
    square: u64,
}

async fn item(Path(number): Path<u64>) -> Json<Item> {
    tokio::time::sleep(Duration::from_millis(number % 4)).await;
    Json(Item {
        name: format!("item {number}"),
        square: number * number,
    })
}

async fn blocking() -> String {
    let thread = tokio::task::spawn_blocking(|| {
        std::thread::sleep(Duration::from_millis(5));
        "done"
    });
    thread.await.unwrap().to_owned()
}

async fn panics() -> String {
    let task: Result<(), _> = tokio::spawn(async { panic!("as told") }).await;
    task.unwrap_err().is_panic().to_string()
}

#[tokio::main]
async fn main() {
    let quit = Arc::new(Notify::new());
    let asked = quit.clone();
    let ask = move || async move {
        asked.notify_one();
        "ending\n"
    };
    let app = Router::new()
        .route("/item/{number}", get(item))
        .route("/echo", post(|body: axum::body::Bytes| async move { body }))
        .route("/blocking", get(blocking))
        .route("/panics", get(panics))
        .route("/quit", get(ask));
    let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
    let server = axum::serve(listener, app);
    let end = async move { quit.notified().await };
    server.with_graceful_shutdown(end).await.unwrap();
    std::process::exit(42);
}
