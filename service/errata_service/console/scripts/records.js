// Pasted texts and dropped files as records of facts, each with the line that it stands in. What a record means, the
// service knows: here is only told apart what belongs to which.

const COLUMNS = ["subject", "relation", "object"];

/**
 * @param {string} text
 * @returns {{line: number, text: string, record?: any, fault?: string}[]} a line that cannot be read has a `fault`
 */
export function recordsOf(text) {
  const clean = text.replace(/^\uFEFF/, "").replaceAll("\r\n", "\n");
  const start = clean.trimStart();
  if (start.startsWith("[") && !start.startsWith("[\"")) return ofArray(clean);
  if (start.startsWith("{") || start.startsWith("[")) return ofJsonLines(clean);
  const [head = ""] = start.split("\n");
  const names = rowsOf(head)[0]?.cells.map((cell) => cell.trim().toLowerCase()) ?? [];
  return COLUMNS.every((name) => names.includes(name)) ? ofTable(clean, names) : ofPlainLines(clean);
}

function ofArray(text) {
  try {
    return JSON.parse(text).map((record, index) => ({ line: index + 1, text: JSON.stringify(record), record }));
  } catch (error) {
    return [{ line: 1, text: text.slice(0, 200), fault: `is not JSON: ${error.message}` }];
  }
}

function ofJsonLines(text) {
  const whole = parsed(text);
  if (whole.record) return [{ line: 1, text, ...whole }];
  return linesOf(text).map(({ line, text }) => ({ line, text, ...parsed(text) }));
}

function parsed(text) {
  try {
    return { record: JSON.parse(text) };
  } catch (error) {
    return { fault: `is not JSON: ${error.message}` };
  }
}

function ofTable(text, names) {
  const [, ...rows] = rowsOf(text);
  return rows.map(({ line, text, cells }) => {
    if (cells.length !== names.length) return { line, text, fault: `has ${cells.length} columns, not ${names.length}` };
    return { line, text, record: Object.fromEntries(COLUMNS.map((name) => [name, cells[names.indexOf(name)]])) };
  });
}

/** `subject | relation | object`, or the three with tabs between them, as they come from a spreadsheet. */
function ofPlainLines(text) {
  return linesOf(text).map(({ line, text }) => {
    const cells = text.split(text.includes("\t") ? "\t" : "|").map((cell) => cell.trim());
    if (cells.length === 3) return { line, text, record: cells };
    return { line, text, fault: "is not subject | relation | object, nor JSON" };
  });
}

const linesOf = (text) => text.split("\n").map((text, index) => ({ line: index + 1, text })).filter(({ text }) => text.trim());

/** The rows of a CSV file, in which a quoted cell may hold commas, quotes and lines. */
function rowsOf(text) {
  const rows = [];
  let row = { line: 1, text: "", cells: [""] };
  let quoted = false;
  let line = 1;
  const end = (next) => {
    if (row.text.trim()) rows.push(row);
    row = { line: next, text: "", cells: [""] };
  };
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === "\n") line += 1;
    if (character === "\n" && !quoted) {
      end(line);
      continue;
    }
    row.text += character;
    if (character === '"' && quoted && text[at + 1] === '"') (row.cells[row.cells.length - 1] += '"'), (at += 1);
    else if (character === '"') quoted = !quoted;
    else if (character === "," && !quoted) row.cells.push("");
    else row.cells[row.cells.length - 1] += character;
  }
  end(line);
  return rows;
}

/** The subject that a prompt is probably about: its longest run of words with capitals, not its first word alone. */
export function guessSubject(text) {
  const runs = text.match(/\p{Lu}[\p{L}\p{N}'’.-]*(?:\s+(?:(?:of|the|de|von|van|der|la|al)\s+)*\p{Lu}[\p{L}\p{N}'’.-]*)*/gu) ?? [];
  const rest = runs.filter((run) => !/^(The|A|An|In|On|At|Who|What|Which|Where|When|How|Is|Does)$/.test(run));
  const longest = rest.sort((a, b) => b.length - a.length)[0] ?? "";
  return longest.replace(/^(The|In|On|At|Who|What|Which|Where|When|How|Is|Does)\s+/, "").replace(/[.?!]$/, "");
}

/** The relation of a prompt about a subject: what follows it, or a template. */
export function relationOf(prompt, subject) {
  if (!subject || !prompt.includes(subject)) return prompt;
  const rest = prompt.startsWith(subject) ? prompt.slice(subject.length) : "";
  return rest.startsWith(" ") ? rest.trim() : prompt.replace(subject, "{}");
}
