//! The state of one object's rewriting: its code, the results of the analyses, and the changes so
//! far.

use std::collections::{HashMap, HashSet};

use crate::analysis::constants::Numbers;
use crate::analysis::flow::{self, Functions};
use crate::analysis::liveness::Liveness;
use crate::analysis::redzone::{self, Use};
use crate::decode::{Code, Node, Place};
use crate::error::Result;
use crate::read::elf::Object;
use crate::read::frames::{Frame, Frames};
use crate::report::{Reason, Report};
use crate::rewrite::hole::Hole;
use crate::write::cfi::Script;
use crate::write::emit::Plan;

/// One object's code, the results of the analyses, and the changes so far.
pub(super) struct Work<'w, 'd> {
    /// The object's name in the report.
    pub place: &'w str,
    pub object: &'w Object<'d>,
    pub code: &'w Code,
    pub frames: &'w Frames,
    /// Whether all frame descriptions could be read.
    pub frames_complete: bool,
    pub functions: &'w Functions,
    pub numbers: &'w Numbers,
    /// The use of the red zone by each function that has been analysed.
    pub uses: HashMap<usize, Use>,
    /// The instructions that have been changed.
    pub changed: HashSet<Node>,
    /// `None` if no site may take the call form.
    pub liveness: Option<Liveness<'w, 'd>>,
    /// The starts of code that a signal handler recognises by its address.
    pub cancellation_ranges: Vec<Place>,
    pub plan: &'w mut Plan,
    pub report: &'w mut Report,
}

impl<'w> Work<'w, '_> {
    /// The use of the red zone by the function of an instruction.
    pub fn red_zone_of(&mut self, node: Node) -> &Use {
        let (code, functions) = (self.code, self.functions);
        let function = self.function_of(node);
        self.uses.entry(function).or_insert_with(|| {
            redzone::analyse(code, &functions.regions(function).collect::<Vec<_>>())
        })
    }

    /// The function that an instruction is part of.
    pub fn function_of(&self, node: Node) -> usize {
        self.functions.of_region(self.code.region_of(node))
    }

    /// Whether the function of an instruction jumps to addresses that no relocation names.
    pub fn jumps_anywhere(&self, node: Node) -> bool {
        flow::jumps_anywhere(self.code, self.functions, self.function_of(node))
    }

    /// The name of an instruction in the report.
    pub fn name(&self, node: Node) -> String {
        let section = self.object.sections[self.code.section_of(node)].name;
        let section = String::from_utf8_lossy(section);
        format!("{}:{section}+{:#x}", self.place, self.code.nodes[node].ip())
    }

    /// Whether what was decoded as an instruction certainly is one.
    pub fn is_certain(&mut self, node: Node) -> bool {
        let code = self.code;
        let section = code.section_of(node);
        let addr = code.nodes[node].ip();
        !code.is_bad(section, addr)
            && (code.in_function(section, addr)
                || self.frames.at(section, addr).is_some()
                || self.red_zone_of(node).reaches(node))
    }

    /// Whether an instruction belongs to the code that returns from a signal handler.
    pub fn in_signal_frame(&self, node: Node) -> bool {
        let frame = self
            .frames
            .at(self.code.section_of(node), self.code.nodes[node].ip());
        frame.is_some_and(|frame| frame.is_signal)
    }

    /// The frame description that the instructions of a hole run with, if there is any. The inner
    /// error is the reason why they cannot move.
    pub fn description(
        &self,
        section: usize,
        hole: Hole,
    ) -> Result<std::result::Result<Option<(&'w Frame, Script)>, Reason>> {
        let frame_of = |node: Node| self.frames.at(section, self.code.nodes[node].ip());
        let Some(frame) = frame_of(hole.first) else {
            let is_known =
                self.frames_complete && (hole.first..=hole.last).all(|n| frame_of(n).is_none());
            return Ok(if is_known {
                Ok(None)
            } else {
                Err(Reason::Frame)
            });
        };
        if frame.has_tables {
            return Ok(Err(Reason::LandingPads));
        }
        let is_whole = (hole.first..=hole.last)
            .all(|node| frame_of(node).is_some_and(|other| other.start == frame.start));
        Ok(match Script::read(self.object, frame)? {
            Some(script) if is_whole => Ok(Some((frame, script))),
            _ => Err(Reason::Frame),
        })
    }
}
