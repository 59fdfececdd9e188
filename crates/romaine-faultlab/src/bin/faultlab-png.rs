//! Draws an SVG as PNG: `faultlab-png IN.svg OUT.png`.

use anyhow::{Context as _, bail};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

/// For screens with more than one dot a pixel.
const SCALE: f32 = 2.0;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let (Some(from), Some(to), None) = (words.next(), words.next(), words.next()) else {
        bail!("usage: faultlab-png IN.svg OUT.png");
    };
    let svg = std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut options = Options::default();
    options.fontdb_mut().load_system_fonts();
    if options.fontdb.is_empty() {
        bail!("there is no font to write with: install one, such as DejaVu (apt-get install fonts-dejavu-core)");
    }
    let tree = Tree::from_data(&svg, &options).with_context(|| format!("{} is not understood", from.display()))?;
    let size = tree.size().to_int_size().scale_by(SCALE).context("an empty picture")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).context("too large a picture")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.save_png(&to).with_context(|| format!("cannot write {}", to.display()))
}
