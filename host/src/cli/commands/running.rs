//! A run as its user sees it: its id, its progress, its end.

use std::future::Future;
use std::path::Path;

use super::Setup;
use crate::cli::exit::Exit;
use crate::cli::ui::Ui;
use crate::cli::ui::report_view::{self, Ending, Look, short_path};
use crate::exec::RunReport;
use crate::manifest::Manifest;
use crate::operations::Failure;
use crate::operations::plan::Document;
use crate::operations::up::{self, Run};

/// A run that began.
pub(super) struct Running<'a> {
    ui: &'a Ui,
    setup: &'a Setup,
    command: &'static str,
    planned: u32,
    /// Its journal and its folder.
    pub(super) run: Run<'a>,
}

impl<'a> Running<'a> {
    /// Opens the journal, writes the plan down, says the run's id and where its log is.
    ///
    /// # Errors
    /// The state folder cannot be written.
    pub(super) fn begin(
        ui: &'a Ui,
        setup: &'a Setup,
        command: &'static str,
        document: &Document,
    ) -> Result<Self, Failure> {
        let run = Run::begin(&setup.context, command, document, &setup.journal)?;
        let id = ui.err_palette.name(run.directory.id.as_str());
        let log = ui.err_palette.name(&short_path(&run.directory.path));
        ui.say(&format!("Run {id}   log {log}\n"));
        Ok(Self { ui, setup, command, planned: document.totals.steps, run })
    }

    /// The run's id.
    pub(super) fn id(&self) -> &str {
        self.run.directory.id.as_str()
    }

    /// Does the work with its progress shown and Ctrl-C listened to, and writes down how it ended, whichever way.
    ///
    /// # Errors
    /// Those of the work, and of the journal's last line.
    pub(super) async fn watch<T: AsRef<RunReport>>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<(T, Exit), Failure> {
        let listening = self.setup.listen()?;
        self.setup.progress.show();
        let worked = work.await;
        drop(listening);
        self.setup.progress.hide();
        match worked {
            Ok(done) => {
                let exit = up::class(done.as_ref()).map_or(Exit::Done, Exit::from);
                self.run.end(done.as_ref(), exit.code())?;
                Ok((done, exit))
            }
            Err(failure) => {
                let nothing = RunReport { not_started: self.planned, ..RunReport::default() };
                self.run.end(&nothing, Exit::from(failure.class).code())?;
                Err(failure)
            }
        }
    }

    /// Shows what became of it: success as news, anything else as a complaint.
    pub(super) fn say_end(
        &self,
        manifest: &Manifest,
        report: &RunReport,
        kubeconfig: Option<&Path>,
        exit: Exit,
    ) {
        let (directory, planned) = (&self.run.directory, self.planned);
        let ending = Ending { command: self.command, manifest, directory, report, planned, kubeconfig, exit };
        let ui = self.ui;
        let look = Look { width: ui.width, palette: ui.err_palette, symbols: ui.symbols };
        let text = report_view::render(&ending, look);
        if exit == Exit::Done { ui.say(&text) } else { ui.complain(&text) }
    }
}
