//! The files of the page, as the build has put them into this program: HTML, modules of JavaScript and style sheets.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use memory_serve::{CacheControl, MemoryServe};
use tokio::sync::OnceCell;
use tonic::codegen::Service as _;

/// Made when somebody looks for the first time: the release build unpacks its files, and packs them once more for browsers that
/// know no brotli, which over plain HTTP are most of them.
static FILES: OnceCell<Router> = OnceCell::const_new();

/// Answers a request for a file.
pub(super) async fn answer(request: Request) -> Response {
    let files = FILES.get_or_init(async || {
        tokio::task::spawn_blocking(router).await.expect("what the build has packed can be unpacked")
    });
    let answered: Result<Response, Infallible> = files.await.clone().call(request).await;
    answered.unwrap_or_else(|never| match never {})
}

fn router() -> Router {
    let assets = include!(concat!(env!("OUT_DIR"), "/dashboard_files.rs"));
    // A page that asks each time gets a file or "not modified" of one and the same release.
    let files = MemoryServe::new(assets)
        .index_file(Some("/index.html"))
        .html_cache_control(CacheControl::NoCache)
        .cache_control(CacheControl::NoCache)
        .enable_brotli(!cfg!(debug_assertions))
        .enable_gzip(!cfg!(debug_assertions));
    files.into_router().fallback(nothing)
}

async fn nothing() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "nothing is here; the dashboard is at /\n")
}
