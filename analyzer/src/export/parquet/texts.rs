//! Interned texts: rows hold the index of a program's, call site's or outcome's name.

use std::collections::BTreeMap;

use ::parquet::data_type::ByteArray;
use mremap_trace::Outcome;

use crate::model::names;
use crate::model::text::Interner;
use crate::named::{NamedPlace, Origin};

/// Texts of a process.
#[derive(Clone, Copy)]
pub struct OriginTexts {
    /// Executable.
    pub exe: u32,
    /// Kernel release.
    pub kernel: u32,
}

/// Texts of a call site.
#[derive(Clone, Copy)]
pub struct PlaceTexts {
    /// Its name in one line.
    pub name: u32,
    /// `module+0xoffset`.
    pub place: u32,
    /// Path of the module.
    pub module: Option<u32>,
    /// Innermost function.
    pub function: Option<u32>,
    /// Its source file.
    pub source_file: Option<u32>,
    /// The line in it.
    pub line: Option<u32>,
}

/// All interned texts.
#[derive(Default)]
pub struct Texts {
    interned: Interner<ByteArray>,
    origins: Vec<Option<OriginTexts>>,
    places: Vec<Option<PlaceTexts>>,
    outcomes: [Option<u32>; Outcome::ALL.len()],
    errnos: BTreeMap<u32, u32>,
}

impl Texts {
    /// Every text, by index.
    pub fn all(&self) -> &[ByteArray] {
        &self.interned.all
    }

    fn intern(&mut self, text: &str) -> u32 {
        self.interned.index(text) as u32
    }

    /// The texts of a process.
    pub fn of_origin(&mut self, origin: &Origin) -> OriginTexts {
        if let Some(Some(known)) = self.origins.get(origin.id) {
            return *known;
        }
        let texts =
            OriginTexts { exe: self.intern(&origin.exe), kernel: self.intern(&origin.kernel) };
        remember(&mut self.origins, origin.id, texts);
        texts
    }

    /// The texts of a call site.
    pub fn of_place(&mut self, place: &NamedPlace) -> PlaceTexts {
        if let Some(Some(known)) = self.places.get(place.id) {
            return *known;
        }
        let site = &place.site;
        let frame = site.frames.first();
        let mut optional = |text: Option<&str>| text.map(|text| self.intern(text));
        let module = optional(site.module.as_deref());
        let function = optional(frame.and_then(|frame| frame.function.as_deref()));
        let source_file = optional(frame.and_then(|frame| frame.file.as_deref()));
        let texts = PlaceTexts {
            name: self.intern(&place.name),
            place: self.intern(&place.place),
            module,
            function,
            source_file,
            line: frame.and_then(|frame| frame.line),
        };
        remember(&mut self.places, place.id, texts);
        texts
    }

    /// The name of an outcome.
    pub fn of_outcome(&mut self, outcome: Outcome) -> u32 {
        let at = outcome as usize - 1;
        if let Some(Some(known)) = self.outcomes.get(at) {
            return *known;
        }
        let number = self.intern(outcome.name());
        if let Some(place) = self.outcomes.get_mut(at) {
            *place = Some(number);
        }
        number
    }

    /// The name of an errno.
    pub fn of_errno(&mut self, errno: u32) -> u32 {
        if let Some(known) = self.errnos.get(&errno) {
            return *known;
        }
        let number = self.intern(&names::errno(errno));
        self.errnos.insert(errno, number);
        number
    }
}

fn remember<T>(all: &mut Vec<Option<T>>, id: usize, what: T) {
    if all.len() <= id {
        all.resize_with(id + 1, || None);
    }
    if let Some(place) = all.get_mut(id) {
        *place = Some(what);
    }
}
