// Where two answers differ, token by token.

/**
 * Which tokens of two texts have no counterpart in the other: what is outside of a longest common subsequence.
 * @param {string[]} left
 * @param {string[]} right
 * @returns {[boolean[], boolean[]]} for each token of either whether it differs
 */
export function differences(left, right) {
  let begin = 0;
  while (begin < left.length && begin < right.length && left[begin] === right[begin]) begin += 1;
  const [rows, columns] = [left.length - begin, right.length - begin];
  // common[row * width + column]: how long the longest common subsequence of what follows is
  const width = columns + 1;
  const common = new Uint16Array((rows + 1) * width);
  for (let row = rows - 1; row >= 0; row -= 1) {
    for (let column = columns - 1; column >= 0; column -= 1) {
      const at = row * width + column;
      common[at] = left[begin + row] === right[begin + column] ? common[at + width + 1] + 1 : Math.max(common[at + width], common[at + 1]);
    }
  }
  const marks = /** @type {[boolean[], boolean[]]} */ ([left.map((_, at) => at >= begin), right.map((_, at) => at >= begin)]);
  for (let row = 0, column = 0; row < rows && column < columns; ) {
    if (left[begin + row] === right[begin + column]) {
      marks[0][begin + row] = marks[1][begin + column] = false;
      row += 1;
      column += 1;
    } else if (common[(row + 1) * width + column] >= common[row * width + column + 1]) row += 1;
    else column += 1;
  }
  return marks;
}

/** How many stretches of a text differ. */
export const stretches = (marks) => marks.filter((differs, at) => differs && !marks[at - 1]).length;
