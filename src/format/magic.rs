//! Formats by the first bytes of their files.

/// Formats that only Python can open, by running what they say.
pub(super) fn pickle_format(head: &[u8]) -> Option<&'static str> {
    match head {
        [b'P', b'K', 3, 4, ..] if contains(head, b"data.pkl") => Some("a PyTorch checkpoint"),
        [0x80, 2..=5, ..] => Some("an old PyTorch checkpoint"),
        _ => None,
    }
}

/// Model formats that are known but not read.
pub(super) fn model_format(head: &[u8]) -> Option<&'static str> {
    match head {
        // The magics of GGML, GGMF, GGJT and GGLA were written as little-endian numbers.
        [b'l' | b'f', b'm', b'g', b'g', ..] | [b't', b'j', b'g', b'g', ..] | [b'a', b'l', b'g', b'g', ..] => {
            Some("an old GGML file from before GGUF")
        }
        [0x89, b'H', b'D', b'F', ..] => Some("an HDF5 file (Keras)"),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => Some("a LiteRT (TensorFlow Lite) file"),
        _ if contains(head, b"<net ") && text_starts_with(head, b"<") => Some("an OpenVINO IR file"),
        _ => None,
    }
}

/// True for a header length that fits the file, followed by a JSON object.
///
/// Source: the safetensors format description, <https://github.com/huggingface/safetensors>.
pub(super) fn is_safetensors(head: &[u8], size_bytes: u64) -> bool {
    head.split_first_chunk::<8>().is_some_and(|(len, json)| {
        let len = u64::from_le_bytes(*len);
        len >= 2 && len <= size_bytes - 8 && json.starts_with(b"{")
    })
}

/// True for field 1 (`ir_version`, a small number), followed by another field of `ModelProto` with its right wire type.
///
/// Source: `message ModelProto` in onnx.proto.
pub(super) fn is_onnx(head: &[u8]) -> bool {
    // producer_version 3, domain 4, doc_string 6, graph 7, opset_import 8: length-delimited; model_version 5: number.
    const NEXT_TAGS: [u8; 6] = [0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];
    match head {
        // producer_name 2: a short text. A TensorFlow SavedModel has its whole graph there.
        [0x08, 1..=32, 0x12, len @ 0..=127, text @ ..] => {
            let name = text.get(..usize::from(*len)).unwrap_or(text);
            std::str::from_utf8(name).is_ok_and(|name| !name.chars().any(char::is_control))
        }
        [0x08, 1..=32, tag, ..] => NEXT_TAGS.contains(tag),
        _ => false,
    }
}

/// True when the text begins with `start`, whatever its case, after white space and a byte order mark.
pub(super) fn text_starts_with(head: &[u8], start: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

fn contains(head: &[u8], part: &[u8]) -> bool {
    head.windows(part.len()).any(|window| window == part)
}
