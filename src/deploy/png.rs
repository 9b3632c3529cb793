//! A picture as PNG, drawn by resvg from its SVG with the bundled font: the same on every machine.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use crate::error::{Error, Result};

/// PNG pixels per SVG pixel, along each side: sharp on paper and on screens of high density.
const SCALE: f32 = 2.0;
/// The font of the window; resvg reads one variable file at the weights that the picture asks for.
static SANS: &[u8] = include_bytes!("../../assets/fonts/IBMPlexSans-Variable.ttf");
/// The name that the font gives itself.
const FAMILY: &str = "IBM Plex Sans";

/// The SVG as PNG at twice its size.
///
/// # Errors
/// `Error::Internal` for text that is not SVG, and for a picture without size or too large.
pub fn png_from_svg(svg: &str) -> Result<Vec<u8>> {
    let failed = |message: String| Error::Internal { message: format!("plot as PNG: {message}") };
    let mut options = Options { font_family: FAMILY.into(), ..Options::default() };
    let fonts = options.fontdb_mut();
    fonts.load_font_data(SANS.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| failed("no size".into()))?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or_else(|| failed("too large".into()))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_twice_the_size_and_its_text_is_drawn() {
        let svg = |text: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"80\" height=\"30\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
                 <text x=\"4\" y=\"20\" font-size=\"12\" font-family=\"IBM Plex Sans, sans-serif\" fill=\"#000\">{text}</text></svg>"
            )
        };
        let dark_pixels = |text: &str| {
            let pixels = Pixmap::decode_png(&png_from_svg(&svg(text)).unwrap()).unwrap();
            assert_eq!((pixels.width(), pixels.height()), (160, 60));
            pixels.pixels().iter().filter(|pixel| pixel.red() < 128).count()
        };
        assert_eq!(dark_pixels(""), 0);
        assert!(dark_pixels("Q4_K_M") > 50);
        assert!(matches!(png_from_svg("no picture"), Err(Error::Internal { .. })));
    }
}
