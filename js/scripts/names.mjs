// Short names for what only the parts of the client know: members that begin
// with _. Those of unrelated classes are the same ones, as what repeats itself
// costs next to nothing once it is compressed. Which letters compress best,
// `tune.mjs` finds out by trying; names that it does not know yet get one, too.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

export const TUNED = join(import.meta.dirname, 'letters.json');

// In an order in which the code compresses well.
export const LETTERS = [...'eobBtdhiuaglnrfmpjxvwskzqyAcCDEFGHIJKLMNOPQRSTUVWXYZ'];

/** A class, interface or the like up to the next, and what it extends or implements. */
const STATEMENT = /^(?=(?:export )?(?:async )?(?:class|interface|const|function) )/m;
const HEAD = /^(?:export )?(?:async )?(?:class|interface|const|function) (\w+)(?:<[^{]*?>)?(?: extends (\w+))?(?:.* implements ([^{]+))?/;

/** A member that is declared, be it by a parameter of the constructor, or is in an object. */
const MEMBER = /(?:^ +|constructor\()(?:(?:private|protected|override|readonly|async|get) )*(_[a-z]\w*)[?!]?(?:[(:;]| =)/gm;

/** Maps each name in a folder of sources to its short one. */
export function shortNames(folder) {
  const families = familiesOf(folder);
  const tuned = JSON.parse(readFileSync(TUNED, 'utf8'));
  const taken = {};
  const short = {};
  // Those that are tuned first, lest another takes their letter.
  for (const name of Object.keys(families).sort((a, b) => (b in tuned) - (a in tuned))) {
    const others = families[name].map((family) => (taken[family] ??= new Set()));
    short[name] = [tuned[name], ...LETTERS].find((letter) => letter && others.every((letters) => !letters.has(letter)));
    if (!short[name]) throw new Error(`no letter is left for ${name}`);
    for (const letters of others) letters.add(short[name]);
  }
  return short;
}

/** The names in a folder of sources, the most used first, and the families of classes that have each: two of a family need two letters. */
export function familiesOf(folder) {
  const owners = {};
  const uses = {};
  const family = {};
  const familyOf = (type) => (family[type] ? familyOf(family[type]) : type);
  for (const file of readdirSync(folder)) {
    const source = readFileSync(join(folder, file), 'utf8');
    for (const [name] of source.matchAll(/\b_[a-z]\w*/g)) uses[name] = (uses[name] ?? 0) + 1;
    for (const statement of source.split(STATEMENT)) {
      const [, type, parent, interfaces = ''] = HEAD.exec(statement) ?? [];
      for (const related of [parent, ...(interfaces.match(/\w+/g) ?? [])]) {
        if (related && familyOf(type) !== familyOf(related)) family[familyOf(type)] = related;
      }
      for (const [, name] of statement.matchAll(MEMBER)) (owners[name] ??= []).push(type);
    }
  }
  const families = {};
  for (const name of Object.keys(uses).sort((a, b) => uses[b] - uses[a])) {
    if (!owners[name]) throw new Error(`${name} is declared nowhere`);
    families[name] = [...new Set(owners[name].map(familyOf))];
  }
  return families;
}
