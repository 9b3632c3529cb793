//! A decoder's matrices, norms and angles as nodes and external tensors.

use super::graph::{ACCURACY_LEVEL, DecoderGraph, is_one, onnx_type, signed, value_info};
use super::layout::{AnglePlaces, Place, TablePlaces};
use super::nodes::{Attribute, Nodes};
use crate::format::onnx::proto::GraphProto;
use crate::format::onnx::proto::tensor_proto::DataType;
use crate::model::Projection;
use crate::quant::{Coding, Float};

impl DecoderGraph<'_> {
    /// `weight · x + bias`.
    pub(super) fn projected(&mut self, x: &str, name: &str, projection: &Projection, output: &str) -> Option<String> {
        let weight = format!("{name}.weight");
        if projection.bias.is_none() {
            return self.product(x, &weight, output);
        }
        let product = self.product(x, &weight, &format!("{output}.product"))?;
        let bias = format!("{name}.bias");
        self.external_floats(&bias, self.place(&bias)?)?;
        Some(self.nodes.add("Add", &[&product, &bias], output, Vec::new()))
    }

    /// The matrix of this name times `x`.
    pub(super) fn product(&mut self, x: &str, name: &str, output: &str) -> Option<String> {
        let place = self.place(name)?;
        let Coding::NBits { nbits, .. } = place.coding else {
            self.external_floats(name, place)?;
            // Stored as the checkpoint has it, a row for each output. ONNX Runtime turns it once, when it loads the model.
            let turned = format!("{name}.turned");
            self.nodes.add("Transpose", &[name], turned.as_str(), vec![("perm", Attribute::Ints(vec![1, 0]))]);
            return Some(self.nodes.add("MatMul", &[x, &turned], output, Vec::new()));
        };
        let inputs = self.integer_inputs(name, place)?;
        let inputs: Vec<&str> = [x].into_iter().chain(inputs.iter().map(String::as_str)).collect();
        let attributes = vec![
            ("K", Attribute::Int(signed(place.row_len))),
            ("N", Attribute::Int(signed(place.n_rows))),
            ("bits", Attribute::Int(signed(nbits.bits()))),
            ("block_size", Attribute::Int(signed(nbits.block_len()))),
            ("accuracy_level", Attribute::Int(ACCURACY_LEVEL)),
        ];
        self.nodes.contrib("MatMulNBits", &inputs, &[output], attributes);
        Some(output.into())
    }

    /// Codes, scales and, where there are any, zero points.
    pub(super) fn integer_inputs(&mut self, name: &str, place: Place) -> Option<Vec<String>> {
        let Coding::NBits { nbits, .. } = place.coding else { return None };
        let n_blocks = nbits.n_blocks(place.row_len);
        let blob_bytes = place.components[0].1.checked_div(place.n_rows.checked_mul(n_blocks)?)?;
        let rows = signed(place.n_rows);
        let [codes, scales, zero_points] = ["codes", "scales", "zero_points"].map(|part| format!("{name}.{part}"));
        let dims = vec![rows, signed(n_blocks), signed(blob_bytes)];
        self.nodes.external(&codes, DataType::Uint8, dims, place.components[0]);
        self.nodes.external(&scales, self.dtype(), vec![rows, signed(n_blocks)], place.components[1]);
        if place.components[2].1 == 0 {
            return Some(vec![codes, scales]);
        }
        let row_bytes = place.components[2].1.checked_div(place.n_rows)?;
        self.nodes.external(&zero_points, DataType::Uint8, vec![rows, signed(row_bytes)], place.components[2]);
        Some(vec![codes, scales, zero_points])
    }

    /// The weights of a norm.
    pub(super) fn vector(&mut self, name: &str) -> Option<String> {
        let name = format!("{name}.weight");
        self.external_floats(&name, self.place(&name)?)?;
        Some(name)
    }

    pub(super) fn external_floats(&mut self, name: &str, place: Place) -> Option<()> {
        let Coding::Ggml(dtype) = place.coding else { return None };
        let float = Float::from_dtype(dtype).filter(|float| *float == self.arranged.float)?;
        let row = signed(place.row_len);
        let dims = if place.is_vector { vec![row] } else { vec![signed(place.n_rows), row] };
        self.nodes.external(name, onnx_type(float), dims, place.components[0]);
        Some(())
    }

    /// Cosines and sines of a table, chosen by the length of the context where it has two kinds.
    pub(super) fn angles(&mut self, idx: usize) -> Option<(String, String)> {
        let &TablePlaces { usual, long } = self.arranged.tables.get(idx)?;
        let name = format!("rope.{idx}");
        let Some(long) = long else { return Some(self.external_angles(&name, usual)) };
        let outputs = (format!("{name}.cos"), format!("{name}.sin"));
        if self.nodes.list.iter().any(|node| node.output.contains(&outputs.0)) {
            return Some(outputs);
        }
        let (near, far) =
            (self.external_angles(&format!("{name}.short"), usual), self.external_angles(&format!("{name}.long"), long));
        self.nodes.inline(&format!("{name}.border"), DataType::Int32, Vec::new(), {
            i32::try_from(usual.n_positions).ok()?.to_le_bytes().to_vec()
        });
        let is_long =
            self.nodes.add("Greater", &["total_seq_len", &format!("{name}.border")], format!("{name}.is_long"), Vec::new());
        let (dtype, angles) = (self.dtype(), [Err("n_positions"), Ok(usual.n_pairs)]);
        let branch = |kind: &str, (cos, sin): (String, String)| {
            let mut nodes = Nodes::default();
            let outputs = [(cos, "cos"), (sin, "sin")].map(|(input, part)| {
                let output = format!("{name}.{kind}.{part}.chosen");
                nodes.add("Identity", &[&input], output, Vec::new())
            });
            Attribute::Graph(Box::new(GraphProto {
                name: Some(format!("{name}.{kind}")),
                node: nodes.list,
                output: outputs.iter().map(|name| value_info(name, dtype, &angles)).collect(),
                ..GraphProto::default()
            }))
        };
        let attributes = vec![("then_branch", branch("long", far)), ("else_branch", branch("short", near))];
        self.nodes.standard("If", &[&is_long], &[&outputs.0, &outputs.1], attributes);
        Some(outputs)
    }

    pub(super) fn external_angles(&mut self, name: &str, places: AnglePlaces) -> (String, String) {
        let dims = vec![signed(places.n_positions), signed(places.n_pairs)];
        let [cos, sin] = [("cos", places.cos), ("sin", places.sin)].map(|(part, offset)| {
            let name = format!("{name}.{part}");
            self.nodes.external(&name, self.dtype(), dims.clone(), (offset, places.n_bytes));
            name
        });
        (cos, sin)
    }

    /// `x` times a number; `x` itself where that is 1.
    pub(super) fn scaled(&mut self, x: String, factor: f64, output: &str) -> String {
        if is_one(factor) {
            return x;
        }
        let number = self.number(factor, &format!("{output}.factor"));
        self.nodes.add("Mul", &[&x, &number], output, Vec::new())
    }

    pub(super) fn number(&mut self, number: f64, name: &str) -> String {
        #[allow(clippy::cast_possible_truncation, reason = "the graph computes in F32")]
        let bytes = match self.arranged.float {
            Float::F16 => half::f16::from_f64(number).to_le_bytes().to_vec(),
            Float::BF16 => half::bf16::from_f64(number).to_le_bytes().to_vec(),
            Float::F32 => (number as f32).to_le_bytes().to_vec(),
        };
        self.nodes.inline(name, self.dtype(), Vec::new(), bytes);
        name.into()
    }

    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.arranged.places.get(name).copied()
    }

    /// The type of all floats.
    pub(super) fn dtype(&self) -> DataType {
        onnx_type(self.arranged.float)
    }
}
