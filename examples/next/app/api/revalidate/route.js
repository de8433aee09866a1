import { revalidatePath, revalidateTag } from 'next/cache';

export const dynamic = 'force-dynamic';

// What an app does that has Next.js's own ISR: its cache first, then Coppice's.
export async function POST(request) {
  const { searchParams } = request.nextUrl;
  if (searchParams.has('path')) {
    revalidatePath(searchParams.get('path'));
  }
  if (searchParams.has('tag')) {
    // `max`: the old page once more, while a new one is made.
    revalidateTag(searchParams.get('tag'), searchParams.get('profile') ?? { expire: 0 });
  }
  return Response.json({ revalidated: true });
}
