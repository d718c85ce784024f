//! Faults that are planned: for which request each waits.

use crate::fault::Fault;
use crate::klarna::Operation;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

/// The calls that a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Every call that reads.
    Reads,
    /// Every call that writes.
    Writes,
    /// A single operation.
    #[serde(untagged)]
    Call(Operation),
}

impl On {
    pub(crate) fn is(self, operation: Operation) -> bool {
        match self {
            Self::Reads => !operation.writes(),
            Self::Writes => operation.writes(),
            Self::Call(own) => own == operation,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Call(operation) => operation.name(),
        }
    }
}

/// A fault and, as a choice, the request it waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedFault {
    /// Strikes the n-th request of its order, counted from 1; with `on`, the n-th of those calls. `None`: the first one
    /// for which no other fault stands before it.
    pub request: Option<u64>,
    /// The calls it may strike; `None`: all.
    pub on: Option<On>,
    /// The fault that strikes.
    pub fault: Fault,
}

impl From<Fault> for PlannedFault {
    fn from(fault: Fault) -> Self {
        Self { request: None, on: None, fault }
    }
}

impl PlannedFault {
    /// A fault for one kind of call.
    pub fn on(operation: Operation, fault: Fault) -> Self {
        Self { request: None, on: Some(On::Call(operation)), fault }
    }

    /// Whether it may strike a request for this operation; `None`: for none that exists.
    pub(crate) fn fits(&self, operation: Option<Operation>) -> bool {
        let reads = matches!(self.fault, Fault::LaggingRead { .. } | Fault::RefundsWithout { .. });
        (!reads || operation.is_some_and(|operation| !operation.writes()))
            && self.on.is_none_or(|on| operation.is_some_and(|operation| on.is(operation)))
    }
}

impl Serialize for PlannedFault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let mut value = serde_json::to_value(&self.fault).map_err(S::Error::custom)?;
        if let Some(members) = value.as_object_mut() {
            members.extend(self.on.map(|on| ("on".into(), on.name().into())));
            members.extend(self.request.map(|request| ("request".into(), request.into())));
        }
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PlannedFault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = match Value::deserialize(deserializer)? {
            // A fault without other members may be its name alone.
            Value::String(name) => Map::from_iter([("fault".into(), name.into())]),
            Value::Object(members) => members,
            other => return Err(D::Error::custom(format!("{other} is neither a fault's name nor an object"))),
        };
        let request = match members.remove("request") {
            None => None,
            Some(number) => match number.as_u64() {
                Some(request) if request > 0 => Some(request),
                _ => {
                    return Err(D::Error::custom(format!("request is {number}; it counts an order's requests from 1")));
                }
            },
        };
        let on = match members.remove("on") {
            None => None,
            Some(name) => match serde_json::from_value(name.clone()) {
                Ok(on) => Some(on),
                Err(_) => {
                    let names = Operation::all().map(Operation::name).collect::<Vec<_>>().join(", ");
                    return Err(D::Error::custom(format!("on is {name}; it must be reads, writes or one of {names}")));
                }
            },
        };
        let fault = serde_json::from_value(Value::Object(members)).map_err(D::Error::custom)?;
        Ok(Self { request, on, fault })
    }
}
