//! romaine under test as a process of its own: speaks the scenarios' line protocol on standard input and output.

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(romaine_faultlab::scenario::serve_lines())
}
