// Short names for what only the parts of the client know: members that begin
// with _. Those of unrelated classes are the same ones, as what repeats itself
// costs next to nothing once it is compressed.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

// In an order in which the code compresses well.
const LETTERS = [...'eobBtdhiuaglnrfmpjxvwskzqyAcCDEFGHIJKLMNOPQRSTUVWXYZ'];

/** A class, interface or the like up to the next, and what it extends or implements. */
const STATEMENT = /^(?=(?:export )?(?:async )?(?:class|interface|const|function) )/m;
const HEAD = /^(?:export )?(?:async )?(?:class|interface|const|function) (\w+)(?:<[^{]*?>)?(?: extends (\w+))?(?:.* implements ([^{]+))?/;

/** A member that is declared, be it by a parameter of the constructor, or is in an object. */
const MEMBER = /(?:^ +|constructor\()(?:(?:private|protected|override|readonly|async|get) )*(_[a-z]\w*)[?!]?(?:[(:;]| =)/gm;

/** Maps each name in a folder of sources to its short one. */
export function shortNames(folder) {
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
  const taken = {};
  const short = {};
  for (const name of Object.keys(uses).sort((a, b) => uses[b] - uses[a])) {
    if (!owners[name]) throw new Error(`${name} is declared nowhere`);
    const families = owners[name].map((type) => (taken[familyOf(type)] ??= new Set()));
    short[name] = LETTERS.find((letter) => families.every((letters) => !letters.has(letter)));
    if (!short[name]) throw new Error(`no letter is left for ${name}`);
    for (const letters of families) letters.add(short[name]);
  }
  return short;
}
