//! Connect, set, get.

use romaine::Client;
use romaine::commands::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> romaine::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let client = Client::connect(url).await?;
    client.set("greeting", "hello").await?;
    let greeting: Option<String> = client.get("greeting").await?;
    println!("{greeting:?}");
    println!("{}", client.incr("visits").await?);
    client.close().await;
    Ok(())
}
