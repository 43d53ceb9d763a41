//! The same questions by words, by meaning, and by both: which of the three finds a passage that answers?

use std::fmt;

use llmspell_storage::{VectorQuery, VectorResult};
use serde_json::{Value, json};

use super::answers::Answer;
use super::data::{Judged, Question};
use super::{Demo, QUESTION_WIDTH, SOURCE_WIDTH, broken};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, one_line};

/// A passage that answers is found if it is among this many of each way.
const FOUND_AMONG: usize = 5;
/// Together with the source and gaps, 100 columns.
const TEXT_WIDTH: usize = 69;

/// How a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Words,
    Meaning,
    Both,
}

const WAYS: [Way; 3] = [Way::Words, Way::Meaning, Way::Both];

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Words => "words",
            Self::Meaning => "meaning",
            Self::Both => "both",
        })
    }
}

impl Way {
    fn query(self, question: &Question) -> VectorQuery {
        let by_meaning = || VectorQuery::new(question.vector.clone(), FOUND_AMONG);
        match self {
            Self::Words => VectorQuery::text(question.text.clone(), FOUND_AMONG),
            Self::Meaning => by_meaning(),
            Self::Both => by_meaning().with_text(question.text.clone()),
        }
    }
}

/// A question that a passage answers, asked in each of the three ways.
struct Asked<'a> {
    question: &'a Question,
    /// For each way the place, from 1, of the first passage that answers; none if none is among the best.
    places: [Option<usize>; 3],
    /// The first passage that answers and that any way found.
    answer: Option<Answer>,
}

impl Asked<'_> {
    /// The only one of words and meaning that finds an answer, or both together where neither does.
    fn only(&self) -> Option<Way> {
        match self.places {
            [Some(_), None, _] => Some(Way::Words),
            [None, Some(_), _] => Some(Way::Meaning),
            [None, None, Some(_)] => Some(Way::Both),
            _ => None,
        }
    }

    /// Whether both together find an answer.
    fn is_found_by_both(&self) -> bool {
        self.places[2].is_some()
    }

    fn json(&self) -> Value {
        json!({
            "step": "ways", "question": self.question.text, "words": self.places[0], "meaning": self.places[1],
            "both": self.places[2], "only": self.only().map(|way| way.to_string()),
            "id": self.answer.as_ref().map(|answer| &answer.id),
        })
    }
}

/// Asks all judged questions in the three ways, and shows one that only words answer, one that only meaning does, and one
/// that neither answers but both together.
pub(super) async fn show(demo: &Demo<'_>, judged: &[Judged], output: &mut Output) -> Result<(), CliError> {
    let mut all = Vec::with_capacity(judged.len());
    for judged in judged {
        all.push(ask(demo, judged).await?);
    }
    for asked in &all {
        output.object(&asked.json())?;
    }
    let found = [0, 1, 2].map(|way| all.iter().filter(|asked| asked.places[way].is_some()).count());
    output.object(&json!({
        "step": "ways_total", "questions": all.len(), "words": found[0], "meaning": found[1], "both": found[2],
    }))?;

    output.text(format!(
        "{} A question that only words answer, one that only meaning does, and one",
        output.bold("Words, meaning, or both."),
    ))?;
    output.text(format!(
        "  that only both do: the place of the first passage that answers, if it is among the best {FOUND_AMONG}."
    ))?;
    output.text(format!("{:QUESTION_WIDTH$}  words  meaning  both", ""))?;
    for way in WAYS {
        let only = all
            .iter()
            .find(|asked| asked.only() == Some(way) && asked.is_found_by_both());
        let asked = only.ok_or_else(|| broken(&format!("a question that only {way} answers")))?;
        show_one(asked, output)?;
    }
    output.text(format!(
        "  Of {} questions that a passage answers, words find it for {}, meaning for {}, both for {}.",
        all.len(),
        found[0],
        found[1],
        found[2]
    ))
}

fn show_one(asked: &Asked<'_>, output: &mut Output) -> Result<(), CliError> {
    let place = |place: Option<usize>| place.map_or_else(|| "–".to_string(), |place| place.to_string());
    let [words, meaning, both] = asked.places.map(place);
    let question = one_line(&asked.question.text, QUESTION_WIDTH);
    let question = output.bold(&format!("{question:QUESTION_WIDTH$}"));
    output.text(format!("{question}  {words:>5}  {meaning:>7}  {both:>4}"))?;
    let Some(answer) = &asked.answer else { return Ok(()) };
    let source = one_line(&answer.source(), SOURCE_WIDTH);
    output.text(output.dim(&format!("  {source}: {}", one_line(answer.text(), TEXT_WIDTH))))
}

async fn ask<'a>(demo: &'a Demo<'_>, judged: &Judged) -> Result<Asked<'a>, CliError> {
    let question = &demo.questions[judged.question];
    let (mut places, mut answer) = ([None; 3], None);
    for (way, place) in WAYS.into_iter().zip(&mut places) {
        let query = way.query(question).with_scopes(demo.scopes.iter().cloned());
        let results = demo.store.search(&query).await?;
        if results.len() != FOUND_AMONG {
            return Err(broken(&format!("{FOUND_AMONG} passages by {way}")));
        }
        let answers = |result: &VectorResult| judged.answers.contains(&result.id);
        *place = results.iter().position(answers).map(|at| at + 1);
        if answer.is_none()
            && let Some(result) = results.into_iter().find(answers)
        {
            let scope = result.scope.clone();
            let scope = scope.ok_or_else(|| broken("the scope of each result of several"))?;
            answer = Some(Answer::new(scope, result));
        }
    }
    Ok(Asked {
        question,
        places,
        answer,
    })
}
