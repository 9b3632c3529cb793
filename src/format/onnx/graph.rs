//! The graphs of an ONNX file: every value that a node takes comes from somewhere, no name is given twice, nothing depends on
//! itself.
//!
//! Source: docs/IR.md of <https://github.com/onnx/onnx>, "Graphs" and "Names within a graph".

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::external::DataFiles;
use super::proto::type_proto::Value;
use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto,
};
use super::tensor;
use super::wire::FORMAT;
use super::{domain_name, label};
use crate::error::{Error, Result};
use crate::model::OnnxTensor;

/// What the graphs of a model hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Survey {
    /// All tensors with values, in the order of the file.
    pub(super) tensors: Vec<OnnxTensor>,
    /// Number of nodes of each operator, by domain and name.
    pub(super) operators: BTreeMap<(String, String), u64>,
    /// Graphs inside nodes.
    pub(super) n_subgraphs: u64,
    /// What is odd but no reason to refuse the model.
    pub(super) warnings: Vec<String>,
}

/// Walks all graphs and functions of a model.
///
/// # Errors
/// `Error::DamagedFile` naming the node or value; for tensors as `tensor::checked`.
pub(super) fn survey(model: &ModelProto, files: &mut DataFiles<'_>, path: &Path) -> Result<Survey> {
    let graph = model.graph.as_ref().ok_or_else(|| damaged(path, "it has no graph".into()))?;
    let mut check =
        Check { path, files, frames: Vec::new(), survey: Survey::default(), functions: HashMap::new(), calls: Vec::new() };
    for (idx, function) in (0..).zip(&model.functions) {
        if check.functions.insert(function_key(function), idx).is_some() {
            return Err(check.damaged(format!("function {} is defined twice", label(function.name()))));
        }
    }
    for (idx, function) in (0..).zip(&model.functions) {
        check.function(idx, function)?;
    }
    if let Some(idx) = order(model.functions.len(), &mut check.calls).cycle {
        let name = model.functions.get(idx).map_or("", |function| function.name());
        return Err(check.damaged(format!("function {} calls itself", label(name))));
    }
    check.graph(graph)?;
    Ok(check.survey)
}

fn damaged(path: &Path, what: String) -> Error {
    Error::DamagedFile { format: FORMAT, what, path: path.to_path_buf() }
}

/// Domain, name and variant of a function.
type FunctionKey<'a> = (&'a str, &'a str, &'a str);

fn function_key(function: &FunctionProto) -> FunctionKey<'_> {
    (domain_name(function.domain()), function.name(), function.overload())
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giver {
    Initializer,
    Input,
    /// The node with this index.
    Node(u32),
}

/// The names of one graph, while its nodes are walked.
#[derive(Default)]
struct Frame<'a> {
    names: HashMap<&'a str, Giver>,
    /// The node that is being walked.
    node_idx: u32,
    /// `(giver, taker)`, indices of nodes.
    edges: Vec<(u32, u32)>,
}

struct Check<'a, 'f, 'p> {
    path: &'a Path,
    files: &'f mut DataFiles<'p>,
    /// The graph at hand, behind the graphs around it.
    frames: Vec<Frame<'a>>,
    survey: Survey,
    functions: HashMap<FunctionKey<'a>, u32>,
    /// `(called, caller)`, indices of functions.
    calls: Vec<(u32, u32)>,
}

impl<'a> Check<'a, '_, '_> {
    fn damaged(&self, what: String) -> Error {
        damaged(self.path, what)
    }

    fn graph(&mut self, graph: &'a GraphProto) -> Result<()> {
        let mut frame = Frame::default();
        for tensor in &graph.initializer {
            self.initializer(&mut frame, tensor, tensor.name())?;
        }
        for sparse in &graph.sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |values| values.name());
            if frame.names.insert(name, Giver::Initializer).is_some() {
                return Err(self.damaged(format!("initializer {} appears twice", label(name))));
            }
            self.sparse(sparse, name)?;
        }
        for input in &graph.input {
            // Before IR version 4 every initializer was an input too, one that may be left out.
            if frame.names.insert(input.name(), Giver::Input).is_some_and(|giver| giver != Giver::Initializer) {
                return Err(self.damaged(format!("input {} appears twice", label(input.name()))));
            }
        }
        let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
        values.into_iter().try_for_each(|value| self.value(value))?;
        self.nodes(frame, &graph.node)?;
        for output in &graph.output {
            self.known(output.name(), || format!("output {}", label(output.name())))?;
        }
        self.close(&graph.node)
    }

    fn value(&self, value: &ValueInfoProto) -> Result<()> {
        let shape = match value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
            Some(Value::TensorType(tensor)) => tensor.shape.as_ref(),
            Some(Value::SparseTensorType(tensor)) => tensor.shape.as_ref(),
            _ => None,
        };
        match shape.map_or(0, |shape| shape.dim.len()) {
            n if n > tensor::MAX_DIMS => {
                let (name, most) = (label(value.name()), tensor::MAX_DIMS);
                Err(self.damaged(format!("value {name} has {n} dimensions, at most {most} are read")))
            }
            _ => Ok(()),
        }
    }

    fn initializer(&mut self, frame: &mut Frame<'a>, tensor: &'a TensorProto, name: &'a str) -> Result<()> {
        if name.is_empty() {
            return Err(self.damaged("an initializer has no name".into()));
        }
        if frame.names.insert(name, Giver::Initializer).is_some() {
            return Err(self.damaged(format!("initializer {} appears twice", label(name))));
        }
        let tensor = tensor::checked(tensor, name, self.files, self.path)?;
        self.survey.tensors.push(OnnxTensor { is_initializer: true, ..tensor });
        Ok(())
    }

    /// Checks the values and indices of a tensor that is mostly zeros.
    fn sparse(&mut self, sparse: &SparseTensorProto, name: &str) -> Result<()> {
        let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else {
            return Err(self.damaged(format!("the sparse tensor {} lacks values or indices", label(name))));
        };
        let values = tensor::checked(values, name, self.files, self.path)?;
        let indices = tensor::checked(indices, name, self.files, self.path)?;
        let dims = sparse.dims.iter().map(|&dim| u64::try_from(dim).ok()).collect::<Option<Vec<_>>>();
        let n_dense = dims.as_deref().and_then(tensor::element_count);
        let n_indices = match indices.shape.as_slice() {
            [n] => Some(*n),
            [n, rank] if *rank == sparse.dims.len() as u64 => Some(*n),
            _ => None,
        };
        if values.shape.len() != 1 || n_indices != Some(values.n_elements) || n_dense.is_none_or(|n| n < values.n_elements) {
            let (shape, found, found_indices) = (&sparse.dims, &values.shape, &indices.shape);
            return Err(self.damaged(format!(
                "the sparse tensor {} of shape {shape:?} has values of shape {found:?} and indices of shape {found_indices:?}",
                label(name)
            )));
        }
        self.survey.tensors.extend([values, indices]);
        Ok(())
    }

    fn function(&mut self, idx: u32, function: &'a FunctionProto) -> Result<()> {
        let mut frame = Frame::default();
        for input in &function.input {
            if frame.names.insert(input, Giver::Input).is_some() {
                return Err(self.damaged(format!("function {} has input {} twice", label(function.name()), label(input))));
            }
        }
        for attribute in &function.attribute_proto {
            self.attribute(attribute, function.name())?;
        }
        let n_before = self.calls.len();
        self.nodes(frame, &function.node)?;
        // `nodes` does not know who calls.
        self.calls.iter_mut().skip(n_before).for_each(|call| call.1 = idx);
        for output in &function.output {
            self.known(output, || format!("output {} of function {}", label(output), label(function.name())))?;
        }
        self.close(&function.node)
    }

    /// Walks nodes, with what is known before them in `frame`; the frame stays open for the graph's outputs.
    fn nodes(&mut self, mut frame: Frame<'a>, nodes: &'a [NodeProto]) -> Result<()> {
        for (idx, node) in (0..).zip(nodes) {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                if frame.names.insert(output, Giver::Node(idx)).is_some() {
                    return Err(self.damaged(format!("value {} is given twice, again by {}", label(output), node_label(node))));
                }
            }
        }
        self.frames.push(frame);
        for (idx, node) in (0..).zip(nodes) {
            if let Some(frame) = self.frames.last_mut() {
                frame.node_idx = idx;
            }
            self.node(node)?;
        }
        // What takes the graph's outputs comes after all of them.
        if let Some(frame) = self.frames.last_mut() {
            frame.node_idx = u32::MAX;
        }
        Ok(())
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<()> {
        if node.op_type().is_empty() {
            return Err(self.damaged(format!("{} has no operator", node_label(node))));
        }
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            self.known(input, || format!("{} takes {}", node_label(node), label(input)))?;
        }
        let mut seen = HashSet::new();
        for attribute in &node.attribute {
            if !seen.insert(attribute.name()) {
                return Err(self.damaged(format!("{} has attribute {} twice", node_label(node), label(attribute.name()))));
            }
            self.attribute(attribute, node.output.first().map_or("", String::as_str))?;
        }
        let domain = domain_name(node.domain());
        if let Some(&called) = self.functions.get(&(domain, node.op_type(), node.overload())) {
            self.calls.push((called, u32::MAX));
        }
        *self.survey.operators.entry((domain.into(), node.op_type().into())).or_default() += 1;
        Ok(())
    }

    /// Walks what is in an attribute; `name` stands for tensors in it.
    fn attribute(&mut self, attribute: &'a AttributeProto, name: &str) -> Result<()> {
        for tensor in attribute.t.as_deref().into_iter().chain(&attribute.tensors) {
            let tensor = tensor::checked(tensor, name, self.files, self.path)?;
            self.survey.tensors.push(tensor);
        }
        for sparse in attribute.sparse_tensor.as_deref().into_iter().chain(&attribute.sparse_tensors) {
            self.sparse(sparse, name)?;
        }
        for graph in attribute.g.as_deref().into_iter().chain(&attribute.graphs) {
            self.survey.n_subgraphs += 1;
            self.graph(graph)?;
        }
        Ok(())
    }

    /// Checks that a value comes from this graph or one around it, and notes which node depends on which.
    fn known(&mut self, name: &str, taker: impl Fn() -> String) -> Result<()> {
        for frame in self.frames.iter_mut().rev() {
            match frame.names.get(name) {
                Some(&Giver::Node(giver)) => {
                    frame.edges.push((giver, frame.node_idx));
                    return Ok(());
                }
                Some(_) => return Ok(()),
                None => {}
            }
        }
        Err(self.damaged(format!("{}, which nothing gives", taker())))
    }

    /// Ends the walk of a graph: nothing in it may depend on itself.
    fn close(&mut self, nodes: &[NodeProto]) -> Result<()> {
        let mut edges = self.frames.pop().map(|frame| frame.edges).unwrap_or_default();
        let Order { cycle, is_sorted } = order(nodes.len(), &mut edges);
        if let Some(node) = cycle.and_then(|idx| nodes.get(idx)) {
            return Err(self.damaged(format!("{} depends on its own output", node_label(node))));
        }
        let warning = "nodes are not in the order of computation, which some programs refuse";
        if !is_sorted && !self.survey.warnings.iter().any(|known| known == warning) {
            self.survey.warnings.push(warning.into());
        }
        Ok(())
    }
}

/// `node conv1 (Conv)`, or by its first output where it has no name.
fn node_label(node: &NodeProto) -> String {
    let name = if node.name().is_empty() { node.output.first().map_or("", String::as_str) } else { node.name() };
    format!("node {} ({})", label(name), label(node.op_type()))
}

struct Order {
    /// Something that depends on itself, or on something that does.
    cycle: Option<usize>,
    /// True where everything comes after what it depends on.
    is_sorted: bool,
}

/// Looks for cycles among `n` things, by taking away what depends on nothing that is left. Sorts the edges, which are
/// `(giver, taker)`.
fn order(n: usize, edges: &mut Vec<(u32, u32)>) -> Order {
    // What takes the outputs of a graph is none of its nodes.
    edges.retain(|edge| (edge.1 as usize) < n);
    if edges.iter().all(|(giver, taker)| giver < taker) {
        return Order { cycle: None, is_sorted: true };
    }
    edges.sort_unstable();
    let mut n_givers = vec![0_u32; n];
    for (_, taker) in &*edges {
        n_givers[*taker as usize] += 1;
    }
    let mut free: Vec<usize> = (0..n).filter(|&idx| n_givers[idx] == 0).collect();
    let mut n_done = 0;
    while let Some(idx) = free.pop() {
        n_done += 1;
        let start = edges.partition_point(|edge| (edge.0 as usize) < idx);
        for (_, taker) in edges.iter().skip(start).take_while(|edge| edge.0 as usize == idx) {
            n_givers[*taker as usize] -= 1;
            if n_givers[*taker as usize] == 0 {
                free.push(*taker as usize);
            }
        }
    }
    let cycle = (n_done < n).then(|| n_givers.iter().position(|&n| n > 0)).flatten();
    Order { cycle, is_sorted: false }
}
