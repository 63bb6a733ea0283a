//! Compares decoded calls with an entry's gold answer, as the official checker for Python does.

use std::borrow::Cow;
use std::mem::discriminant;

use super::data::Entry;
use super::decode::decode;
use super::gold::{FunctionDoc, GoldCall, ParamDoc, ParamType};
use super::number::int_to_float;
use super::value::{Call, Value};

/// Why an output is wrong. `Display` is the official error type, but for [`CheckError::IntTooLargeForFloat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CheckError {
    /// The text is not a list of calls.
    #[error("ast_decoder:decoder_failed")]
    DecoderFailed,
    /// Not one call.
    #[error("multiple_function_checker:wrong_count")]
    MultipleWrongCount,
    /// Not as many calls as the gold answer has.
    #[error("parallel_function_checker_no_order:wrong_count")]
    ParallelWrongCount,
    /// A gold call that no unused call matches.
    #[error("parallel_function_checker_no_order:cannot_find_match")]
    CannotFindMatch,
    /// Another function.
    #[error("simple_function_checker:wrong_func_name")]
    WrongFunctionName,
    /// A required parameter is not given.
    #[error("simple_function_checker:missing_required")]
    MissingRequired,
    /// A parameter that the doc or the gold answer does not know.
    #[error("simple_function_checker:unexpected_param")]
    UnexpectedParam,
    /// A parameter that the gold answer wants is not given.
    #[error("simple_function_checker:missing_optional")]
    MissingOptional,
    /// A value of another type than declared.
    #[error("type_error:simple")]
    Type,
    /// A list whose elements have another type than declared.
    #[error("type_error:nested")]
    NestedType,
    /// Another text.
    #[error("value_error:string")]
    Text,
    /// Another list.
    #[error("value_error:list/tuple")]
    List,
    /// Another value.
    #[error("value_error:others")]
    Other,
    /// A dict key too many or too few.
    #[error("value_error:dict_key")]
    DictKey,
    /// Another value under a dict key.
    #[error("value_error:dict_value")]
    DictValue,
    /// A dict where no acceptable one is known.
    #[error("dict_checker:unclear")]
    DictUnclear,
    /// A list of dicts with another length.
    #[error("value_error:list_dict_count")]
    ListDictCount,
    /// A list of dicts where no acceptable one is known.
    #[error("list_dict_checker:unclear")]
    ListDictUnclear,
    /// An integer beyond the range of doubles given for a float. The official checker raises; the name is ours.
    #[error("checker_raised:int_too_large_for_float")]
    IntTooLargeForFloat,
}

type Checked = Result<(), CheckError>;

/// Decodes a model's raw text and checks the calls.
///
/// # Errors
/// The reason why the output is wrong.
pub fn judge(entry: &Entry, text: &str) -> Checked {
    let calls = decode(text).map_err(|_| CheckError::DecoderFailed)?;
    check(entry, &calls)
}

/// Checks calls against the entry's gold answer, in the way of the entry's category.
///
/// # Errors
/// The reason why the calls are wrong.
pub fn check(entry: &Entry, calls: &[Call]) -> Checked {
    if entry.category.is_parallel() { parallel(entry, calls) } else { multiple(entry, calls) }
}

fn multiple(entry: &Entry, calls: &[Call]) -> Checked {
    match (calls, entry.gold.as_slice()) {
        ([call], [gold]) => matches(entry, call, gold),
        _ => Err(CheckError::MultipleWrongCount),
    }
}

/// Every gold call in order takes the first unused call that matches; no back-tracking.
fn parallel(entry: &Entry, calls: &[Call]) -> Checked {
    if calls.len() != entry.gold.len() {
        return Err(CheckError::ParallelWrongCount);
    }
    let mut unused: Vec<&Call> = calls.iter().collect();
    for gold in &entry.gold {
        let mut found = None;
        for (place, call) in unused.iter().enumerate() {
            match matches(entry, call, gold) {
                Ok(()) => {
                    found = Some(place);
                    break;
                }
                Err(CheckError::IntTooLargeForFloat) => return Err(CheckError::IntTooLargeForFloat),
                Err(_) => {}
            }
        }
        unused.remove(found.ok_or(CheckError::CannotFindMatch)?);
    }
    Ok(())
}

fn matches(entry: &Entry, call: &Call, gold: &GoldCall) -> Checked {
    let doc =
        entry.doc(&gold.name).filter(|doc| doc.name == call.name).ok_or(CheckError::WrongFunctionName)?;
    let given = |name: &String| call.args.iter().any(|(n, _)| n == name);
    if !doc.required.iter().all(given) {
        return Err(CheckError::MissingRequired);
    }
    for (name, value) in &call.args {
        argument(doc, gold, name, value)?;
    }
    let missing =
        gold.params.iter().any(|(name, alternatives)| !given(name) && !alternatives.iter().any(is_absent));
    if missing { Err(CheckError::MissingOptional) } else { Ok(()) }
}

/// Whether the alternative is the mark for "may be left out".
fn is_absent(alternative: &Value) -> bool {
    alternative.as_str() == Some("")
}

fn argument(doc: &FunctionDoc, gold: &GoldCall, name: &str, value: &Value) -> Checked {
    let (Some(param), Some(alternatives)) = (doc.param(name), gold.alternatives(name)) else {
        return Err(CheckError::UnexpectedParam);
    };
    let converted;
    let value = match (param.kind, value) {
        (ParamType::Tuple, Value::Tuple(items)) => {
            converted = Value::List(items.clone());
            &converted
        }
        (ParamType::Float, Value::Int(i)) => {
            converted = Value::Float(int_to_float(i).ok_or(CheckError::IntTooLargeForFloat)?);
            &converted
        }
        _ => value,
    };
    if is_variable(param, alternatives, value)? {
        return if alternatives.contains(value) { Ok(()) } else { Err(CheckError::Other) };
    }
    match (param.kind, value) {
        (ParamType::Dict, Value::Dict(pairs)) => dict(pairs, alternatives),
        (_, Value::List(items)) if param.items == Some(ParamType::Dict) => dict_list(items, alternatives),
        (ParamType::Str, Value::Str(text)) => string(text, alternatives),
        (ParamType::Array | ParamType::Tuple, Value::List(items)) => list(items, alternatives),
        _ if alternatives.contains(value) => Ok(()),
        _ => Err(CheckError::Other),
    }
}

/// Whether the value has exactly the Python type that the doc type wants.
fn has_type(value: &Value, kind: ParamType) -> bool {
    match kind {
        ParamType::Str => matches!(value, Value::Str(_)),
        ParamType::Int => matches!(value, Value::Int(_)),
        ParamType::Float => matches!(value, Value::Float(_)),
        ParamType::Bool => matches!(value, Value::Bool(_)),
        ParamType::Array | ParamType::Tuple => matches!(value, Value::List(_)),
        ParamType::Dict => matches!(value, Value::Dict(_)),
    }
}

/// The type check. A value is a variable when the gold answer has another type than the doc declares.
fn is_variable(param: &ParamDoc, alternatives: &[Value], value: &Value) -> Result<bool, CheckError> {
    let first = alternatives.iter().find(|a| !is_absent(a));
    let of_first_type = first.is_some_and(|f| discriminant(f) == discriminant(value));
    if !has_type(value, param.kind) {
        return if of_first_type { Ok(true) } else { Err(CheckError::Type) };
    }
    if let (Some(kind), Value::List(items)) = (param.items, value) {
        let fits = |alternative: &Value| match alternative {
            Value::List(wanted) => {
                let first = wanted.iter().find(|w| !is_absent(w));
                let of_first = |item| first.is_some_and(|f| discriminant(f) == discriminant(item));
                items.iter().all(|item| has_type(item, kind) || of_first(item))
            }
            _ => true,
        };
        if !alternatives.iter().any(fits) {
            return Err(if of_first_type { CheckError::NestedType } else { CheckError::Type });
        }
    }
    Ok(first.is_some_and(|f| !has_type(f, param.kind)))
}

/// Text without case, blanks and `,./-_*^`, and with one kind of quotes.
fn standard(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !" ,./-_*^".contains(*c)).collect();
    kept.to_lowercase().replace('\'', "\"")
}

fn standard_value(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::Str(text) => Cow::Owned(Value::Str(standard(text))),
        other => Cow::Borrowed(other),
    }
}

fn string(text: &str, alternatives: &[Value]) -> Checked {
    let text = standard(text);
    let same = alternatives.iter().filter_map(Value::as_str).any(|a| standard(a) == text);
    if same { Ok(()) } else { Err(CheckError::Text) }
}

/// Lists are compared with text standardised on their direct elements; text counts as the list of its characters.
fn list(items: &[Value], alternatives: &[Value]) -> Checked {
    let equal = |wanted: &[Value]| {
        wanted.len() == items.len()
            && wanted.iter().zip(items).all(|(w, item)| standard_value(w) == standard_value(item))
    };
    let same = alternatives.iter().any(|alternative| match alternative {
        Value::List(wanted) => equal(wanted),
        Value::Str(text) => equal(&text.chars().map(Value::str).collect::<Vec<_>>()),
        _ => false,
    });
    if same { Ok(()) } else { Err(CheckError::List) }
}

fn dict(given: &[(Value, Value)], alternatives: &[Value]) -> Checked {
    let mut checked = Err(CheckError::DictUnclear);
    for alternative in alternatives.iter().filter(|a| !is_absent(a)) {
        checked = match alternative {
            Value::Dict(wanted) => one_dict(given, wanted),
            _ => Err(CheckError::DictKey),
        };
        if checked.is_ok() {
            break;
        }
    }
    checked
}

fn one_dict(given: &[(Value, Value)], wanted: &[(Value, Value)]) -> Checked {
    let find = |pairs: &'_ [(Value, Value)], key: &Value| pairs.iter().position(|(k, _)| k == key);
    // A missing key overrides whatever was wrong with the given ones.
    for (key, alternatives) in wanted {
        let may_be_absent = matches!(alternatives, Value::List(list) if list.iter().any(is_absent));
        if !may_be_absent && find(given, key).is_none() {
            return Err(CheckError::DictKey);
        }
    }
    for (key, value) in given {
        let alternatives =
            find(wanted, key).and_then(|place| wanted.get(place)).map(|(_, alternatives)| alternatives);
        let value = standard_value(value);
        match alternatives {
            None => return Err(CheckError::DictKey),
            Some(Value::List(list)) if list.iter().any(|a| standard_value(a) == value) => {}
            Some(_) => return Err(CheckError::DictValue),
        }
    }
    Ok(())
}

fn dict_list(items: &[Value], alternatives: &[Value]) -> Checked {
    let mut checked = Err(CheckError::ListDictUnclear);
    for alternative in alternatives {
        let wanted = match alternative {
            Value::List(wanted) => wanted.as_slice(),
            _ => &[],
        };
        checked = if wanted.len() == items.len() {
            items.iter().zip(wanted).try_for_each(|(item, wanted)| match item {
                Value::Dict(given) => dict(given, std::slice::from_ref(wanted)),
                _ => Err(CheckError::DictUnclear),
            })
        } else {
            Err(CheckError::ListDictCount)
        };
        if checked.is_ok() {
            break;
        }
    }
    checked
}
